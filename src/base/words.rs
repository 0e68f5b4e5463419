//! A line parted into words by blanks, with quotes, as Redis parts inline requests and the first lines of libraries.
//!
//! `"..."` knows `\n \r \t \b \a \xHH` and takes any other character behind a backslash as it is; `'...'` knows `\'` alone. Behind
//! a closing quote a blank or the end must follow.

/// The words of `line`; nothing if quotes are unbalanced.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?.trim_ascii_start();
        words.push(word);
    }
    Some(words)
}

/// Reads one word; gives what follows.
fn read_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return Some(rest),
            [byte, ..] if is_blank(*byte) => return Some(rest),
            [b'"', behind @ ..] => return end_of_quoted(read_double_quoted(behind, word)?),
            [b'\'', behind @ ..] => return end_of_quoted(read_single_quoted(behind, word)?),
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

fn end_of_quoted(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_blank(*byte)).then_some(rest)
}

fn read_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    loop {
        rest = match rest {
            [] => return None,
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b'x', high, low, behind @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                word.push(digit(*high)? * 16 + digit(*low)?);
                behind
            }
            [b'\\', byte, behind @ ..] => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        }
    }
}

fn read_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', behind @ ..] => return Some(behind),
            [b'\\', b'\'', behind @ ..] => {
                word.push(b'\'');
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_words;

    #[test]
    fn words_are_parted_by_blanks_and_kept_by_quotes() {
        let words = |line| split_words(line).map(|words| String::from_utf8(words.join(&b'|')).unwrap());
        assert_eq!(words(b"  a  b\tc ").as_deref(), Some("a|b|c"));
        assert_eq!(words(br#"x "a \"b\"\x41\n" 'c\'d\n'"#).as_deref(), Some("x|a \"b\"A\n|c'd\\n"));
        assert_eq!(words(b"a\"b\" c").as_deref(), Some("ab|c"));
        assert_eq!(words(b"").as_deref(), Some(""));
        for bad in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\"] {
            assert_eq!(split_words(bad), None, "{bad:?}");
        }
    }
}
