//! Reads replies, for tests and tools.
//!
//! A plain recursive reader, bounded in depth. It wants a whole reply in its buffer and otherwise
//! answers "not yet", to be called again with more; it does not keep its place.

use crate::base::number::{parse_f64, parse_i64};

/// Replies nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(String),
    /// `-text`, without the minus.
    Error(String),
    /// `:n`
    Integer(i64),
    /// `$n` and its bytes.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`.
    Null,
    /// `*n`
    Array(Vec<Value>),
    /// `%n`, pairs in the order sent.
    Map(Vec<(Value, Value)>),
    /// `~n`
    Set(Vec<Value>),
    /// `>n`
    Push(Vec<Value>),
    /// `,x`
    Double(f64),
    /// `#t` or `#f`
    Boolean(bool),
    /// `=n`: the format's three letters, and the text.
    Verbatim(String, Vec<u8>),
    /// `(n`
    BigNumber(String),
}

/// Reads the first reply of `bytes`: it and its length, nothing if more bytes are needed, or what
/// is wrong. An attribute (`|`) is read and dropped.
pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, String> {
    let mut reader = Reader { bytes, position: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.position))),
        Err(Stop::NotYet) => Ok(None),
        Err(Stop::Wrong(what)) => Err(what),
    }
}

enum Stop {
    NotYet,
    Wrong(String),
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(wrong("nested too deeply", b""));
        }
        let (&kind, text) = self.line()?.split_first().ok_or_else(|| wrong("empty line", b""))?;
        Ok(match kind {
            b'+' => Value::Simple(lossy(text)),
            b'-' => Value::Error(lossy(text)),
            b':' => Value::Integer(integer(text)?),
            b'(' => Value::BigNumber(lossy(text)),
            b'_' => Value::Null,
            b'#' => Value::Boolean(boolean(text)?),
            b',' => Value::Double(double(text)?),
            b'$' => match count(text)? {
                None => Value::Null,
                Some(len) => Value::Bulk(self.body(len)?.to_vec()),
            },
            b'=' => self.verbatim(count(text)?.unwrap_or(0))?,
            b'*' => match count(text)? {
                None => Value::Null,
                Some(len) => Value::Array(self.values(len, depth)?),
            },
            b'~' => Value::Set(self.values(count(text)?.unwrap_or(0), depth)?),
            b'>' => Value::Push(self.values(count(text)?.unwrap_or(0), depth)?),
            b'%' => Value::Map(self.pairs(count(text)?.unwrap_or(0), depth)?),
            b'|' => {
                self.pairs(count(text)?.unwrap_or(0), depth)?;
                return self.value(depth + 1);
            }
            _ => return Err(wrong("unknown kind", &[kind])),
        })
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.position..];
        let len = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::NotYet)?;
        self.position += len + 2;
        Ok(&rest[..len])
    }

    fn body(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.position.saturating_add(len);
        let after = end.saturating_add(2);
        let body = self.bytes.get(self.position..end).ok_or(Stop::NotYet)?;
        let line_end = self.bytes.get(end..after).ok_or(Stop::NotYet)?;
        if line_end != b"\r\n" {
            return Err(wrong("bulk without line end", line_end));
        }
        self.position = after;
        Ok(body)
    }

    fn verbatim(&mut self, len: usize) -> Result<Value, Stop> {
        let body = self.body(len)?;
        match body {
            [a, b, c, b':', text @ ..] => Ok(Value::Verbatim(lossy(&[*a, *b, *c]), text.to_vec())),
            _ => Err(wrong("verbatim without format", body)),
        }
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        // The count is only what the sender says: grow with what is there.
        let mut values = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let mut pairs = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }
}

/// A length, or nothing for -1.
fn count(text: &[u8]) -> Result<Option<usize>, Stop> {
    match integer(text)? {
        -1 => Ok(None),
        count => usize::try_from(count).map(Some).map_err(|_| wrong("bad length", text)),
    }
}

fn integer(text: &[u8]) -> Result<i64, Stop> {
    parse_i64(text).ok_or_else(|| wrong("bad integer", text))
}

fn double(text: &[u8]) -> Result<f64, Stop> {
    match text {
        b"nan" | b"-nan" => Ok(f64::NAN),
        text => parse_f64(text).ok_or_else(|| wrong("bad double", text)),
    }
}

fn boolean(text: &[u8]) -> Result<bool, Stop> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        text => Err(wrong("bad boolean", text)),
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn wrong(what: &str, text: &[u8]) -> Stop {
    let shown = &text[..text.len().min(80)];
    Stop::Wrong(format!("{what}: '{}'", shown.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    fn whole(text: &str) -> Value {
        let bytes = text.replace('|', "\r\n").into_bytes();
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "a part of {text} is not a reply yet");
        }
        let (value, len) = parse(&bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        value
    }

    #[test]
    fn every_kind_is_read() {
        use Value::*;
        assert_eq!(whole("+OK|"), Simple("OK".into()));
        assert_eq!(whole("-ERR x|"), Error("ERR x".into()));
        assert_eq!(whole(":-5|"), Integer(-5));
        assert_eq!(whole("$2|hi|"), Bulk(b"hi".to_vec()));
        assert_eq!(whole("$0||"), Bulk(vec![]));
        assert_eq!(whole("*2|$-1|*-1|"), Array(vec![Null, Null]));
        assert_eq!(whole("_|"), Null);
        assert_eq!(whole("%1|:1|*0|"), Map(vec![(Integer(1), Array(vec![]))]));
        assert_eq!(whole("~1|#t|"), Set(vec![Boolean(true)]));
        assert_eq!(whole(">2|#f|,1.5|"), Push(vec![Boolean(false), Double(1.5)]));
        assert_eq!(whole(",-inf|"), Double(f64::NEG_INFINITY));
        assert_eq!(whole("=5|txt:a|"), Verbatim("txt".into(), b"a".to_vec()));
        assert_eq!(whole("(123|"), BigNumber("123".into()));
    }

    #[test]
    fn nonsense_is_an_error_and_a_huge_count_reserves_nothing() {
        for text in ["x|", ":a|", "$-2|", "$1|abc|", "#x|", "=2|ab|", "|"] {
            assert!(parse(text.replace('|', "\r\n").as_bytes()).is_err(), "{text}");
        }
        assert!(parse("*1\r\n".repeat(100).as_bytes()).is_err());
        assert_eq!(parse(b"*9223372036854775807\r\n:1\r\n"), Ok(None));
    }
}
