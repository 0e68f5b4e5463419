//! The marks of one list: segments of about 64 rows, in the order of the rows' positions.
//!
//! A segment begins at `from` and ends where the next one begins; the first has no beginning. Rows behind the frontier are not known. A
//! segment that got more marks than it has room for is *crowded*: anything may be in it, until somebody who has read its rows says what is.

use std::collections::VecDeque;

/// Marks in a segment that is made from rows read.
const SEGMENT_ROWS: usize = 64;
/// Marks a segment has room for; with them it takes 192 bytes.
const SEGMENT_ROWS_MAX: usize = 91;
/// Segments of one list: two million rows. Looking through so many takes half a millisecond.
const SEGMENTS_MAX: usize = 32 << 10;
/// So many removed rows are suffered, and half as many as there are.
const REMOVED_FREE: usize = 1024;

/// What stands for a value: part of its hash.
pub type Mark = u16;

struct Segment {
    /// The least position it can have.
    from: i64,
    /// Marks put in; more than there is room for if it is crowded.
    count: u16,
    marks: [Mark; SEGMENT_ROWS_MAX],
}

/// What comes next in a search.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The value may be here.
    Segment {
        /// The least position.
        from: i64,
        /// The first position behind; none at the end of the list.
        to: Option<i64>,
        /// The caller should say which rows there are (`MarkIndex::refine`).
        is_crowded: bool,
    },
    /// It is nowhere before this position; what lies from there on is not known.
    Frontier(i64),
    /// It is nowhere.
    Nowhere,
}

/// See the head of the file.
#[derive(Default)]
pub struct MarkIndex {
    segments: VecDeque<Segment>,
    /// Rows from here on are not known; none: all are.
    frontier: Option<i64>,
    /// The outermost positions ever put in.
    ends: Option<(i64, i64)>,
    rows: usize,
    removed: usize,
}

impl Segment {
    fn new(from: i64) -> Segment {
        Segment { from, count: 0, marks: [0; SEGMENT_ROWS_MAX] }
    }

    fn add(&mut self, mark: Mark) {
        if let Some(free) = self.marks.get_mut(usize::from(self.count)) {
            *free = mark;
        }
        self.count = self.count.saturating_add(1);
    }

    fn is_crowded(&self) -> bool {
        usize::from(self.count) > SEGMENT_ROWS_MAX
    }

    fn is_full(&self) -> bool {
        usize::from(self.count) >= SEGMENT_ROWS_MAX
    }

    fn may_have(&self, mark: Mark) -> bool {
        match self.marks.get(..usize::from(self.count)) {
            Some(marks) => marks.contains(&mark),
            None => true,
        }
    }
}

impl MarkIndex {
    /// Takes the next row in order, the list's first one first. False if there is no room: it lies behind the frontier.
    pub fn push(&mut self, position: i64, mark: Mark) -> bool {
        let needs_segment = self.segments.back().is_none_or(|last| usize::from(last.count) >= SEGMENT_ROWS);
        if needs_segment {
            if self.segments.len() == SEGMENTS_MAX {
                return false;
            }
            let from = if self.segments.is_empty() { i64::MIN } else { position };
            self.segments.push_back(Segment::new(from));
        }
        if let Some(last) = self.segments.back_mut() {
            last.add(mark);
        }
        self.widen(position);
        self.rows += 1;
        true
    }

    /// No more rows will be pushed: those from `frontier` on are not known.
    pub fn set_frontier(&mut self, frontier: Option<i64>) {
        self.frontier = frontier;
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of::<MarkIndex>() + self.segments.capacity() * size_of::<Segment>()
    }

    /// The first segment that ends behind `at` and may have the mark.
    pub fn next(&self, at: i64, mark: Mark) -> Next {
        if let Some(frontier) = self.frontier.filter(|frontier| at >= *frontier) {
            return Next::Frontier(frontier);
        }
        let first = self.locate(at);
        let found = self.segments.iter().skip(first).position(|segment| segment.may_have(mark));
        match (found, self.frontier) {
            (Some(found), frontier) => {
                let segment = &self.segments[first + found];
                let next = self.segments.get(first + found + 1);
                let to = next.map(|next| next.from).or(frontier);
                Next::Segment { from: segment.from, to, is_crowded: segment.is_crowded() }
            }
            (None, Some(frontier)) => Next::Frontier(frontier),
            (None, None) => Next::Nowhere,
        }
    }

    /// A commit has set a row.
    pub fn set(&mut self, position: i64, mark: Mark) {
        if self.frontier.is_some_and(|frontier| position >= frontier) || self.segments.is_empty() {
            return;
        }
        let at = self.locate(position);
        let (low, high) = self.ends.unwrap_or((position, position));
        self.widen(position);
        self.rows += 1;
        let is_last = at + 1 == self.segments.len();
        let has_room = self.segments.len() < SEGMENTS_MAX;
        let segment = &mut self.segments[at];
        if !segment.is_full() || !has_room {
            segment.add(mark);
        } else if is_last && position > high {
            let mut last = Segment::new(position);
            last.add(mark);
            self.segments.push_back(last);
        } else if at == 0 && position < low {
            segment.from = low;
            let mut first = Segment::new(i64::MIN);
            first.add(mark);
            self.segments.push_front(first);
        } else {
            segment.add(mark);
        }
    }

    /// A commit has removed a row. False once so many marks are of rows that are gone that it is better to begin anew.
    pub fn remove(&mut self) -> bool {
        self.removed += 1;
        self.removed <= REMOVED_FREE + self.rows / 2
    }

    /// Says which rows a segment has, in order. Nothing happens if there is no segment that begins there.
    pub fn refine(&mut self, from: i64, rows: &[(i64, Mark)]) {
        let at = self.locate(from);
        if self.segments.get(at).is_none_or(|segment| segment.from != from) {
            return;
        }
        let pieces = rows.chunks(SEGMENT_ROWS).enumerate().map(|(nth, piece)| {
            let begins = piece.first().filter(|_| nth > 0).map_or(from, |(position, _)| *position);
            let mut segment = Segment::new(begins);
            piece.iter().for_each(|(_, mark)| segment.add(*mark));
            segment
        });
        let mut pieces: VecDeque<Segment> = pieces.collect();
        let Some(first) = pieces.pop_front() else {
            self.segments[at] = Segment::new(from);
            return;
        };
        if self.segments.len() + pieces.len() > SEGMENTS_MAX {
            return;
        }
        self.segments[at] = first;
        for (nth, piece) in pieces.into_iter().enumerate() {
            self.segments.insert(at + 1 + nth, piece);
        }
    }

    /// The segment a position lies in.
    fn locate(&self, position: i64) -> usize {
        self.segments.partition_point(|segment| segment.from <= position).saturating_sub(1)
    }

    fn widen(&mut self, position: i64) {
        let (low, high) = self.ends.unwrap_or((position, position));
        self.ends = Some((low.min(position), high.max(position)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Rng;
    use std::collections::BTreeMap;

    /// Where a search for a mark leads, by reading the rows of `model` where it may be.
    fn search(index: &mut MarkIndex, model: &BTreeMap<i64, Mark>, mark: Mark) -> (Option<i64>, usize) {
        let (mut at, mut read) = (i64::MIN, 0);
        loop {
            let (from, to, is_crowded) = match index.next(at, mark) {
                Next::Segment { from, to, is_crowded } => (from, to, is_crowded),
                Next::Frontier(frontier) => {
                    let mut rest = model.range(frontier..);
                    return (rest.find(|(_, other)| **other == mark).map(|(position, _)| *position), read);
                }
                Next::Nowhere => return (None, read),
            };
            let rows: Vec<(i64, Mark)> =
                model.range(from..to.unwrap_or(i64::MAX)).map(|(a, b)| (*a, *b)).collect();
            read += rows.len();
            if is_crowded {
                index.refine(from, &rows);
            }
            if let Some((position, _)) = rows.iter().find(|(_, other)| *other == mark) {
                return (Some(*position), read);
            }
            let Some(to) = to else { return (None, read) };
            at = to;
        }
    }

    #[test]
    fn a_search_finds_what_a_walk_would_find_whatever_has_changed() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut model: BTreeMap<i64, Mark> = BTreeMap::new();
            let mut index = MarkIndex::default();
            for nth in 0..1000 {
                let mark = rng.below(5000) as Mark;
                model.insert(nth * 100, mark);
                if seed % 2 == 0 || nth < 500 {
                    assert!(index.push(nth * 100, mark));
                }
            }
            index.set_frontier((seed % 2 == 1).then_some(500 * 100));
            for _ in 0..2000 {
                let mark = rng.below(5000) as Mark;
                let position = match rng.below(6) {
                    0 => model.keys().next().unwrap() - 1,
                    1 => model.keys().last().unwrap() + 1,
                    2 => 12_345,
                    3 => 30_000 + rng.below(100) as i64,
                    _ => rng.below(100_000) as i64,
                };
                if rng.below(4) == 0 {
                    if model.remove(&position).is_some() {
                        assert!(index.remove());
                    }
                } else {
                    model.insert(position, mark);
                    index.set(position, mark);
                }
                let wanted = rng.below(5000) as Mark;
                let expected = model.iter().find(|(_, mark)| **mark == wanted).map(|(at, _)| *at);
                assert_eq!(search(&mut index, &model, wanted).0, expected);
            }
        }
    }

    #[test]
    fn a_search_reads_few_rows_however_many_were_put_in_at_one_spot_and_at_the_ends() {
        let mut index = MarkIndex::default();
        let mut model = BTreeMap::new();
        for nth in 0..6400 {
            model.insert(nth << 32, nth as Mark);
            assert!(index.push(nth << 32, nth as Mark));
        }
        for nth in 1..2000i64 {
            for (position, mark) in [((3000 << 32) + nth, 7000), (-nth, 7001), ((6400 << 32) + nth, 7002)] {
                model.insert(position, mark);
                index.set(position, mark);
            }
            let (found, read) = search(&mut index, &model, 3001);
            assert_eq!(found, Some(3001 << 32));
            assert!(read <= 3 * SEGMENT_ROWS_MAX, "{read} rows after {nth}");
        }
    }

    #[test]
    fn a_search_that_has_come_to_the_frontier_goes_no_further() {
        let mut index = MarkIndex::default();
        assert!((0..70).all(|position| index.push(position, 1)));
        index.set_frontier(Some(70));
        assert_eq!(index.next(0, 1), Next::Segment { from: i64::MIN, to: Some(64), is_crowded: false });
        assert_eq!(index.next(64, 1), Next::Segment { from: 64, to: Some(70), is_crowded: false });
        assert_eq!([index.next(70, 1), index.next(71, 1), index.next(0, 2)], [70; 3].map(Next::Frontier));
    }

    #[test]
    fn after_many_removals_it_is_given_up() {
        let mut index = MarkIndex::default();
        assert!((0..100).all(|position| index.push(position, 1)));
        let given_up = (0..).position(|_| !index.remove());
        assert_eq!(given_up, Some(REMOVED_FREE + 50));
    }

    #[test]
    fn a_very_long_list_is_known_up_to_a_frontier() {
        let mut index = MarkIndex::default();
        let rows = (SEGMENTS_MAX * SEGMENT_ROWS) as i64;
        assert!((0..rows).all(|position| index.push(position, 1)) && !index.push(rows, 2));
        index.set_frontier(Some(rows));
        assert_eq!(index.next(0, 2), Next::Frontier(rows));
        assert!(index.bytes() < 8 << 20, "{}", index.bytes());
    }
}
