//! A line parted into words by blanks, with quotes: inline requests, lines of configuration, the first lines of libraries.
//!
//! `"..."` knows `\n \r \t \b \a \xHH` and takes any other character behind a backslash as it is; `'...'` knows `\'` alone. Quotes may
//! begin in the middle of a word, but end it: behind them a blank or the end must follow. Between words everything is a blank
//! that C's `isspace` takes for one; a word without quotes ends at a space, tab or line end, or at a NUL, which ends the line.

use crate::base::number::is_blank;

/// The quotes of a line do not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbalanced;

/// The words of `line`.
pub fn split_words(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let (mut words, mut rest, mut word) = (Vec::new(), line, Vec::new());
    while next_word(&mut rest, &mut word)? {
        words.push(std::mem::take(&mut word));
    }
    Ok(words)
}

/// Appends the next word of `rest` to `word` and goes past it; false if there is none.
pub fn next_word(rest: &mut &[u8], word: &mut Vec<u8>) -> Result<bool, Unbalanced> {
    let blanks = rest.iter().take_while(|&&byte| is_blank(byte)).count();
    let mut left = &rest[blanks..];
    let is_there = !left.is_empty() && left[0] != 0;
    loop {
        left = match *left {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => break,
            [0, ..] => &[],
            [b'"', ref quoted @ ..] => {
                left = take_double_quoted(quoted, word)?;
                break;
            }
            [b'\'', ref quoted @ ..] => {
                left = take_single_quoted(quoted, word)?;
                break;
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                after
            }
        }
    }
    *rest = left;
    Ok(is_there)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match *rest {
            [b'"', ref after @ ..] => return closed(after),
            [b'\\', b'x', high, low, ref after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_value(high) << 4 | hex_value(low));
                after
            }
            [b'\\', escaped, ref after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                after
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                after
            }
            [] => return Err(Unbalanced),
        };
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match *rest {
            [b'\'', ref after @ ..] => return closed(after),
            [b'\\', b'\'', ref after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                after
            }
            [] => return Err(Unbalanced),
        };
    }
}

fn closed(after: &[u8]) -> Result<&[u8], Unbalanced> {
    match after.first() {
        Some(&byte) if !is_blank(byte) && byte != 0 => Err(Unbalanced),
        _ => Ok(after),
    }
}

fn hex_value(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::{Unbalanced, split_words};
    use crate::base::random::Rng;

    #[test]
    fn words_are_parted_by_blanks_and_kept_by_quotes() {
        let words = |line| split_words(line).map(|words| String::from_utf8(words.join(&b'|')).unwrap());
        assert_eq!(words(b"  a  b\tc ").as_deref(), Ok("a|b|c"));
        assert_eq!(words(br#"x "a \"b\"\x41\n" 'c\'d\n'"#).as_deref(), Ok("x|a \"b\"A\n|c'd\\n"));
        assert_eq!(words(b"a\"b\" c").as_deref(), Ok("ab|c"));
        assert_eq!(words(b"").as_deref(), Ok(""));
        assert_eq!(words(b"\x0b a\x0bb \x0b\x0c c\x0b").as_deref(), Ok("a\x0bb|c\x0b"), "only between words");
        assert_eq!(words(b"a\0b c").as_deref(), Ok("a"), "a NUL ends the line");
        assert_eq!(words(b"a \0 b").as_deref(), Ok("a"));
        for bad in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\"] {
            assert_eq!(split_words(bad), Err(Unbalanced), "{bad:?}");
        }
    }

    #[test]
    fn every_line_has_an_end() {
        let mut rng = Rng::new(11);
        let odd = b" \t\n\r\x0b\x0c\0\"'\\xa1";
        for _ in 0..20_000 {
            let line: Vec<u8> =
                (0..rng.below(12)).map(|_| odd[rng.below(odd.len() as u64) as usize]).collect();
            if let Ok(words) = split_words(&line) {
                assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len(), "{line:?}");
            }
        }
    }
}
