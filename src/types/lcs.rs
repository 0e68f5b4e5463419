//! The longest common subsequence of two strings.
//!
//! `v[i][j]`, the length for the first `i` bytes of one and the first `j` of the other, comes from its neighbours row by row; the way
//! back from the last cell gives the bytes. Of the table only one row is kept, and one bit per cell: which neighbour the way
//! back takes. So what Redis keeps in four bytes takes an eighth of one, and its limit on the table bounds us, too.
//!
//! Of several longest ones Redis' is found: where bytes differ the way back shortens `a` only when that keeps more in common.
//!
//! Pure functions; no lock.

use std::ops::Range;

/// Bytes that Redis takes for the table of two strings of these lengths. It refuses more than `proto-max-bulk-len`.
pub const fn table_bytes(a_len: u64, b_len: u64) -> u128 {
    (a_len as u128 + 1).saturating_mul(b_len as u128 + 1).saturating_mul(4)
}

/// Bytes that follow each other in both strings, as offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// In the first.
    pub a: Range<usize>,
    /// In the second.
    pub b: Range<usize>,
}

/// What two strings have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Common {
    /// The subsequence.
    pub bytes: Vec<u8>,
    /// The runs it consists of, last first.
    pub matches: Vec<Match>,
}

/// The table: one bit per cell, set where the way back shortens `a`.
struct Steps {
    words: Vec<u64>,
    /// Bytes of the shorter string, whose cells lie side by side.
    inner_len: usize,
    /// `a` is the shorter one.
    a_is_inner: bool,
}

impl Steps {
    fn new(outer_len: usize, inner_len: usize, a_is_inner: bool) -> Steps {
        Steps { words: vec![0; (outer_len * inner_len).div_ceil(64)], inner_len, a_is_inner }
    }

    fn set(&mut self, cell: usize) {
        self.words[cell / 64] |= 1 << (cell % 64);
    }

    /// Whether the way back from byte `i` of `a` and byte `j` of `b` shortens `a`.
    fn shortens_a(&self, i: usize, j: usize) -> bool {
        let cell = if self.a_is_inner { j * self.inner_len + i } else { i * self.inner_len + j };
        self.words[cell / 64] >> (cell % 64) & 1 == 1
    }
}

/// The length of the longest common subsequence.
pub fn len(a: &[u8], b: &[u8]) -> usize {
    fill(a, b, None)
}

/// The longest common subsequence, with the runs it consists of.
pub fn find(a: &[u8], b: &[u8]) -> Common {
    let a_is_inner = a.len() < b.len();
    let mut steps = Steps::new(a.len().max(b.len()), a.len().min(b.len()), a_is_inner);
    let len = fill(a, b, Some(&mut steps));
    let mut common = Common { bytes: Vec::with_capacity(len), matches: Vec::new() };
    let (mut i, mut j) = (a.len(), b.len());
    let mut run = 0;
    while i > 0 && j > 0 && common.bytes.len() < len {
        if a[i - 1] == b[j - 1] {
            (i, j, run) = (i - 1, j - 1, run + 1);
            common.bytes.push(a[i]);
            continue;
        }
        common.end_run(i, j, &mut run);
        if steps.shortens_a(i - 1, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.end_run(i, j, &mut run);
    common.bytes.reverse();
    common
}

impl Common {
    /// The run that begins at `i` and `j` goes no further back.
    fn end_run(&mut self, i: usize, j: usize, run: &mut usize) {
        if *run > 0 {
            self.matches.push(Match { a: i..i + *run, b: j..j + *run });
            *run = 0;
        }
    }
}

/// Goes through all cells, the shorter string inside. Gives the length.
fn fill(a: &[u8], b: &[u8], mut steps: Option<&mut Steps>) -> usize {
    let a_is_inner = a.len() < b.len();
    let (outer, inner) = if a_is_inner { (b, a) } else { (a, b) };
    let mut row = vec![0u32; inner.len()];
    let mut cell = 0;
    for &byte in outer {
        // The neighbours to the left, above and between, of which the row has the one above until it is written over.
        let (mut left, mut corner) = (0, 0);
        for (&other, value) in inner.iter().zip(row.iter_mut()) {
            let above = *value;
            *value = if byte == other { corner + 1 } else { above.max(left) };
            let shortens_a = if a_is_inner { left > above } else { above > left };
            if shortens_a && let Some(steps) = &mut steps {
                steps.set(cell);
            }
            (left, corner) = (*value, above);
            cell += 1;
        }
    }
    row.last().copied().unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;

    /// As Redis does it: the whole table, and the way back through it.
    fn whole_table(a: &[u8], b: &[u8]) -> Common {
        let mut table = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = match a[i - 1] == b[j - 1] {
                    true => table[i - 1][j - 1] + 1,
                    false => table[i - 1][j].max(table[i][j - 1]),
                };
            }
        }
        let (mut i, mut j) = (a.len(), b.len());
        let (mut bytes, mut pairs) = (Vec::new(), Vec::<(usize, usize)>::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                bytes.insert(0, a[i]);
                pairs.push((i, j));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        let mut matches: Vec<Match> = Vec::new();
        for (i, j) in pairs {
            match matches.last_mut() {
                Some(last) if last.a.start == i + 1 && last.b.start == j + 1 => {
                    (last.a.start, last.b.start) = (i, j);
                }
                _ => matches.push(Match { a: i..i + 1, b: j..j + 1 }),
            }
        }
        Common { bytes, matches }
    }

    #[test]
    fn the_example_of_the_manual() {
        let common = find(b"ohmytext", b"mynewtext");
        assert_eq!(common.bytes, b"mytext");
        assert_eq!(common.matches, [Match { a: 4..8, b: 5..9 }, Match { a: 2..4, b: 0..2 }]);
        assert_eq!(len(b"ohmytext", b"mynewtext"), 6);
    }

    #[test]
    fn nothing_in_common_and_nothing_at_all() {
        for (a, b) in [("", ""), ("", "abc"), ("abc", ""), ("abc", "xyz")] {
            assert_eq!(find(a.as_bytes(), b.as_bytes()), Common::default(), "{a} {b}");
            assert_eq!(len(a.as_bytes(), b.as_bytes()), 0);
        }
    }

    #[test]
    fn random_strings_have_in_common_what_the_whole_table_says() {
        let mut rng = Rng::new(7);
        for round in 0..2000 {
            let letters = 1 + rng.below(4);
            let mut text = || {
                let len = rng.below(40);
                (0..len).map(|_| b'a' + rng.below(letters) as u8).collect::<Vec<u8>>()
            };
            let (a, b) = (text(), text());
            let expected = whole_table(&a, &b);
            assert_eq!(len(&a, &b), expected.bytes.len(), "round {round}");
            assert_eq!(find(&a, &b), expected, "round {round}: {a:?} {b:?}");
        }
    }

    #[test]
    fn the_table_is_counted_as_redis_counts_it() {
        assert_eq!([table_bytes(0, 0), table_bytes(2, 3)], [4, 48]);
        assert!(table_bytes(11_584, 11_584) < 512 << 20 && table_bytes(11_585, 11_585) > 512 << 20);
        assert!(table_bytes(u64::MAX, u64::MAX) > u128::from(u64::MAX));
    }
}
