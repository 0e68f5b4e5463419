//! Where replies end: a scanner that counts whole replies in a stream of bytes, cut anywhere, and keeps none of them.
//!
//! A reply is one value, but an aggregate (`*`, `~`, `%`, `>`) asks for more of them and an attribute (`|`) comes before one.
//! So a single number is enough, however deep they nest: the values still to come. A value takes one away, an aggregate of n
//! adds n; when none is left the reply is whole. Bulk bytes are jumped over. An error text (the first one) is the only thing copied.

/// Length lines and error texts longer than this are not from a server.
const LINE_BYTES_MAX: usize = 64 << 10;
/// As much of the first error is kept for the report.
const ERROR_BYTES_MAX: usize = 200;

/// What a whole reply was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything else.
    Value,
    /// Nil, or an aggregate that is one.
    Nil,
    /// An error, or an aggregate with an error in it.
    Error,
}

/// The bytes are not RESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotResp;

enum State {
    /// The type byte of a value comes next.
    Type,
    /// Inside a line that begins with `kind`; of its text `number` (with `negative`) has been read.
    Line { kind: u8, negative: bool, number: u64, bytes: usize },
    /// This many bytes of a bulk string, its line end included, are still to come.
    Bulk(u64),
}

/// One connection's place in the stream.
pub struct Replies {
    state: State,
    /// Values that the reply at hand still lacks.
    open: u64,
    kind: Kind,
    /// Whether the reply at hand is an aggregate.
    nested: bool,
    error: Vec<u8>,
    error_is_whole: bool,
}

impl Default for Replies {
    fn default() -> Replies {
        Replies {
            state: State::Type,
            open: 1,
            kind: Kind::Value,
            nested: false,
            error: Vec::new(),
            error_is_whole: false,
        }
    }
}

impl Replies {
    /// Reads from `bytes` until a reply is whole (what it was; `bytes` then begins behind it) or they are used up (nothing).
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Kind>, NotResp> {
        while !bytes.is_empty() {
            let whole = match &mut self.state {
                State::Type => {
                    let kind = bytes[0];
                    *bytes = &bytes[1..];
                    self.state = State::Line { kind, negative: false, number: 0, bytes: 0 };
                    false
                }
                State::Bulk(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= step as u64;
                    *bytes = &bytes[step..];
                    let done = *left == 0;
                    done && self.close_value()
                }
                State::Line { .. } => self.line(bytes)?,
            };
            if whole {
                let kind = std::mem::replace(&mut self.kind, Kind::Value);
                self.open = 1;
                self.nested = false;
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// The text of the first error there was, cut to a readable length; empty if there was none.
    pub fn first_error(&self) -> &[u8] {
        &self.error
    }

    /// Reads on in a line; true when it ends the reply.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<bool, NotResp> {
        let State::Line { kind, negative, number, bytes: read } = &mut self.state else { return Ok(false) };
        let kind = *kind;
        let counts = matches!(kind, b'$' | b'=' | b'!' | b'*' | b'~' | b'%' | b'>' | b'|');
        let mut used = 0;
        let mut ended = false;
        for &byte in *bytes {
            used += 1;
            match byte {
                b'\n' => {
                    ended = true;
                    break;
                }
                b'\r' => {}
                b'-' if counts => *negative = true,
                b'0'..=b'9' if counts => {
                    *number = number
                        .checked_mul(10)
                        .and_then(|n| n.checked_add(u64::from(byte - b'0')))
                        .ok_or(NotResp)?;
                }
                _ if counts => return Err(NotResp),
                _ if kind == b'-' && !self.error_is_whole && self.error.len() < ERROR_BYTES_MAX => {
                    self.error.push(byte);
                }
                _ => {}
            }
        }
        *read += used;
        if *read > LINE_BYTES_MAX {
            return Err(NotResp);
        }
        *bytes = &bytes[used..];
        if !ended {
            return Ok(false);
        }
        let (negative, number) = (*negative, *number);
        self.end_line(kind, negative, number)
    }

    /// A line has come to its end; true when that ends the reply.
    fn end_line(&mut self, kind: u8, negative: bool, number: u64) -> Result<bool, NotResp> {
        match kind {
            b'+' | b':' | b',' | b'#' | b'(' => Ok(self.close_value()),
            b'-' => {
                self.kind = Kind::Error;
                self.error_is_whole = true;
                Ok(self.close_value())
            }
            b'_' => Ok(self.close_nil()),
            b'$' | b'=' | b'!' if negative => Ok(self.close_nil()),
            b'$' | b'=' | b'!' => {
                if kind == b'!' {
                    self.kind = Kind::Error;
                }
                self.state = State::Bulk(number.checked_add(2).ok_or(NotResp)?);
                Ok(false)
            }
            b'*' | b'~' | b'>' if negative => Ok(self.close_nil()),
            b'*' | b'~' | b'>' => self.open_values(number, true),
            b'%' => self.open_values(number.checked_mul(2).ok_or(NotResp)?, true),
            b'|' => self.open_values(number.checked_mul(2).ok_or(NotResp)?, false),
            _ => Err(NotResp),
        }
    }

    fn open_values(&mut self, more: u64, takes_place: bool) -> Result<bool, NotResp> {
        self.open = self.open.checked_add(more).ok_or(NotResp)?;
        self.state = State::Type;
        self.nested |= takes_place;
        Ok(takes_place && self.close_value())
    }

    fn close_nil(&mut self) -> bool {
        if !self.nested {
            self.kind = Kind::Nil;
        }
        self.close_value()
    }

    fn close_value(&mut self) -> bool {
        self.state = State::Type;
        self.open -= 1;
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole replies of both protocol versions, and what each is.
    const STREAM: &[(&str, Kind)] = &[
        ("+OK\r\n", Kind::Value),
        ("$5\r\nhe\r\no\r\n", Kind::Value),
        ("$0\r\n\r\n", Kind::Value),
        ("$-1\r\n", Kind::Nil),
        ("*-1\r\n", Kind::Nil),
        ("_\r\n", Kind::Nil),
        (":-12\r\n", Kind::Value),
        ("*0\r\n", Kind::Value),
        ("*3\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n*0\r\n", Kind::Value),
        ("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n,1.5\r\n", Kind::Value),
        ("|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n", Kind::Value),
        ("~1\r\n#t\r\n", Kind::Value),
        ("-ERR no such thing\r\n", Kind::Error),
        ("*2\r\n+OK\r\n-WRONGTYPE second\r\n", Kind::Error),
        ("!5\r\nERR x\r\n", Kind::Error),
        ("=7\r\ntxt:abc\r\n", Kind::Value),
        ("(12345678901234567890\r\n", Kind::Value),
    ];

    fn feed(scanner: &mut Replies, mut bytes: &[u8], kinds: &mut Vec<Kind>) {
        while let Some(kind) = scanner.next(&mut bytes).unwrap() {
            kinds.push(kind);
        }
    }

    #[test]
    fn replies_are_counted_at_any_split() {
        let bytes: Vec<u8> = STREAM.iter().flat_map(|(text, _)| text.bytes()).collect();
        let expected: Vec<Kind> = STREAM.iter().map(|(_, kind)| *kind).collect();
        for first in 0..=bytes.len() {
            let (mut scanner, mut kinds) = (Replies::default(), Vec::new());
            feed(&mut scanner, &bytes[..first], &mut kinds);
            feed(&mut scanner, &bytes[first..], &mut kinds);
            assert_eq!(kinds, expected, "cut at {first}");
            assert_eq!(scanner.first_error(), b"ERR no such thing");
        }
        for size in 1..9 {
            let (mut scanner, mut kinds) = (Replies::default(), Vec::new());
            bytes.chunks(size).for_each(|chunk| feed(&mut scanner, chunk, &mut kinds));
            assert_eq!(kinds, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_reply_is_not_counted_before_its_last_byte() {
        for (text, kind) in STREAM {
            let (mut scanner, mut kinds) = (Replies::default(), Vec::new());
            feed(&mut scanner, &text.as_bytes()[..text.len() - 1], &mut kinds);
            assert_eq!(kinds, [], "{text:?}");
            feed(&mut scanner, &text.as_bytes()[text.len() - 1..], &mut kinds);
            assert_eq!(kinds, [*kind], "{text:?}");
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        for wrong in
            ["HTTP/1.1 200 OK\r\n", "$x\r\n", "*99999999999999999999\r\n", "%18446744073709551615\r\n"]
        {
            assert_eq!(Replies::default().next(&mut wrong.as_bytes()), Err(NotResp), "{wrong:?}");
        }
        let endless = vec![b'1'; LINE_BYTES_MAX];
        let mut scanner = Replies::default();
        assert_eq!(scanner.next(&mut &b":"[..]), Ok(None));
        assert_eq!(scanner.next(&mut &endless[..]), Ok(None));
        assert_eq!(scanner.next(&mut &endless[..]), Err(NotResp));
    }
}
