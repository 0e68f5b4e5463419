//! Glob patterns as Redis understands them: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! Every element but `*` takes exactly one byte of text, so only the last star seen ever needs to be
//! reconsidered: on a mismatch the text position after that star moves on by one and the rest of
//! the pattern is tried again. Time is at most pattern times text, whatever the pattern.
//!
//! The unusual cases are Redis' own and deliberate: a class that is never closed ends with the
//! pattern; `[^` alone takes any byte; `[a-]` is the range from `a` to `]`, left open; an escaped byte
//! in a class is compared with its case even when case is ignored; ranges order bytes as signed;
//! an empty text matches only the empty pattern, and not `*`.

/// Whether `pattern` matches the whole of `text`; `nocase` folds ASCII letters.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // After the last star: where the pattern goes on, and the text position it was tried at.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p = skip_stars(pattern, p);
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if let Some(next) = match_one(pattern, p, text[t], nocase) {
            p = next;
            t += 1;
            continue;
        }
        let Some((after_star, tried)) = retry else {
            return false;
        };
        (p, t) = (after_star, tried + 1);
        retry = Some((p, t));
    }
    skip_stars(pattern, p) == pattern.len()
}

/// The bytes every matching text must begin with: the pattern up to its first special byte.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..end.unwrap_or(pattern.len())]
}

fn skip_stars(pattern: &[u8], from: usize) -> usize {
    let stars = pattern[from..].iter().take_while(|&&b| b == b'*').count();
    from + stars
}

/// Matches the element at `p` with one byte; answers where the next element begins.
fn match_one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, nocase),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, nocase).then_some(p + 2),
        literal => same(literal, byte, nocase).then_some(p + 1),
    }
}

/// Matches a class whose first byte after the bracket is at `p`; answers where the class has ended.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut matched = false;
    let end = loop {
        match pattern[p..] {
            [] => break p,
            [b'\\', escaped, ..] => {
                matched |= escaped == byte;
                p += 2;
            }
            [b']', ..] => break p + 1,
            [from, b'-', to, ..] => {
                matched |= in_range(from, to, byte, nocase);
                p += 3;
            }
            [literal, ..] => {
                matched |= same(literal, byte, nocase);
                p += 1;
            }
        }
    };
    (matched != negated).then_some(end)
}

/// Whether `byte` lies between the two ends, given in either order.
fn in_range(from: u8, to: u8, byte: u8, nocase: bool) -> bool {
    // The ends are put in order before case is folded, as signed bytes: both show in results.
    let (mut low, mut high) = if from as i8 > to as i8 { (to, from) } else { (from, to) };
    let mut byte = byte;
    if nocase {
        (low, high, byte) = (low.to_ascii_lowercase(), high.to_ascii_lowercase(), byte.to_ascii_lowercase());
    }
    (low as i8..=high as i8).contains(&(byte as i8))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

#[cfg(test)]
mod tests {
    use super::{glob_match, literal_prefix};

    fn check(pattern: &str, matching: &[&str], not_matching: &[&str]) {
        for text in matching {
            assert!(glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} takes {text}");
        }
        for text in not_matching {
            assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false), "{pattern} refuses {text}");
        }
    }

    #[test]
    fn the_usual_elements() {
        check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeeello"], &["hell", "ello"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "h[ae]llo"]);
        check("h[^e]llo", &["hallo"], &["hello", "hllo"]);
        check("h[a-c]llo", &["hallo", "hcllo"], &["hdllo"]);
        check("h[c-a]llo", &["hbllo"], &["hdllo"]);
        check("a\\*b", &["a*b"], &["axb", "a\\*b"]);
        check("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a", "b"]);
        check("**a**", &["a", "bab"], &["b"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn the_unusual_cases_are_those_of_redis() {
        check("*", &["a"], &[""]);
        check("a*", &["a"], &[""]);
        check("[^", &["a", "^"], &["", "ab"]);
        check("[", &[], &["[", "a"]);
        check("[ab", &["a", "b"], &["[ab", "c"]);
        check("[a-", &["a", "-"], &["b"]);
        check("[a-]", &["a", "]", "`"], &["-", "b"]);
        check("[]a]", &[], &["a", "]", "]a]"]);
        check("[\\]]", &["]"], &["\\"]);
        check("[\\", &["\\"], &["["]);
        check("a\\", &["a\\"], &["a"]);
        // Bytes are ordered as signed: 0x80 is the lowest, 0x7f the highest.
        assert!(glob_match(b"[\x7f-\x80]", b"a", false) && glob_match(b"[\x80-a]", b"\xff", false));
        assert!(!glob_match(b"[a-\x7f]", b"\xff", false));
    }

    #[test]
    fn case_is_folded_except_after_a_backslash_in_a_class() {
        let nocase = |pattern: &str, text: &str| glob_match(pattern.as_bytes(), text.as_bytes(), true);
        assert!(nocase("MAXmem*", "maxmemory") && nocase("[A-C]", "b") && nocase("[a]", "A"));
        assert!(nocase("\\A", "a") && !nocase("[\\A]", "a"));
        assert!(!glob_match(b"A", b"a", false));
    }

    #[test]
    fn an_abusive_pattern_takes_little_time() {
        // Tried naively this is about 2^60 steps.
        let (pattern, text) = ("a*".repeat(60) + "b", "a".repeat(200));
        assert!(!glob_match(pattern.as_bytes(), text.as_bytes(), false));
        assert!(glob_match("*?".repeat(100).as_bytes(), text.as_bytes(), false));
    }

    #[test]
    fn the_prefix_ends_at_the_first_special_byte() {
        assert_eq!(literal_prefix(b"user:*:x"), b"user:");
        assert_eq!(literal_prefix(b"plain"), b"plain");
        assert_eq!(literal_prefix(b"a\\*"), b"a");
        assert_eq!(literal_prefix(b"[a]"), b"");
    }
}
