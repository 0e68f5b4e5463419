//! Finds one request after the other in a query buffer.
//!
//! A request is either a multibulk (`*2`, `$3`, `GET`, `$1`, `k`, each with CRLF) or an inline line. The
//! decoder keeps how far it has come, so that a request arriving byte by byte is looked at once; the
//! bytes themselves stay in the caller's buffer, and the arguments of a multibulk are ranges of it.
//! Inline arguments are unquoted into a buffer of the decoder. Both lists are reused: no allocation
//! per request once warm. Memory grows with the bytes received, never with a number announced.
//!
//! Whoever wants to know what comes next in a pipeline has whole requests decoded ahead of the current one; they are not decoded again when
//! their turn comes.
//!
//! As in Redis, the byte after a CR and the two bytes after a bulk are not looked at, and a line is
//! not recognised once a NUL byte precedes its end.

use bytes::{Buf, BytesMut};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use crate::base::number::parse_i64;
use crate::base::words::{Unbalanced, next_word};
use crate::resp::args::{ArgRange, Args, OwnedArgs};

/// A line (inline request, or the count of a multibulk or bulk) may be this long without its end.
const LINE_LEN_MAX: usize = 64 * 1024;
/// A multibulk may announce this many arguments.
const MULTIBULK_COUNT_MAX: i64 = i32::MAX as i64;
/// Clients that are not authenticated may send this many arguments ...
const UNAUTHENTICATED_COUNT_MAX: i64 = 10;
/// ... of this many bytes.
const UNAUTHENTICATED_BULK_MAX: i64 = 16384;
/// After a larger request the lists shrink back to this many arguments and inline bytes.
const RANGES_KEPT: usize = 1024;
const INLINE_BYTES_KEPT: usize = 16 * 1024;

/// A request this long is taken out of its buffer by splitting the buffer.
const TAKEN_BYTES_MIN: usize = 64 << 10;

/// What this client may send at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest bulk, in bytes (proto-max-bulk-len).
    pub bulk_len_max: u64,
    /// False while the client still has to authenticate.
    pub authenticated: bool,
}

/// What was found at the beginning of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The request goes on past the buffer's end.
    Incomplete {
        /// The buffer must at least have this many bytes in total; 0 if unknown. It is what the
        /// client says: grow towards it as bytes arrive.
        wanted: usize,
    },
    /// A request; its arguments can now be viewed.
    Complete {
        /// The bytes it takes at the buffer's beginning.
        consumed: usize,
    },
    /// Nothing to run: a blank line, or a multibulk of no arguments.
    Empty {
        /// The bytes it takes at the buffer's beginning.
        consumed: usize,
    },
}

/// Why a request cannot be understood. The client is told and then disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count after `*` is not a number, or too large.
    MultibulkLength,
    /// Too many arguments before authentication.
    UnauthenticatedMultibulkLength,
    /// The line of a multibulk's count does not end.
    MultibulkCountTooLong,
    /// An argument does not begin with `$` but with this byte.
    ExpectedDollar(u8),
    /// The length after `$` is not a number, or too large.
    BulkLength,
    /// Too long an argument before authentication.
    UnauthenticatedBulkLength,
    /// The line of a bulk's length does not end.
    BulkCountTooLong,
    /// An inline request does not end.
    InlineTooLong,
    /// A quote in an inline request is not closed, or not followed by a blank.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The text that follows `-ERR ` in the reply.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let text: &'static str = match self {
            ProtocolError::ExpectedDollar(byte) => {
                let mut text = b"Protocol error: expected '$', got '".to_vec();
                // The reply is one line.
                text.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
                text.push(b'\'');
                return Cow::Owned(text);
            }
            ProtocolError::MultibulkLength => "Protocol error: invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => {
                "Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::MultibulkCountTooLong => "Protocol error: too big mbulk count string",
            ProtocolError::BulkLength => "Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "Protocol error: unauthenticated bulk length",
            ProtocolError::BulkCountTooLong => "Protocol error: too big bulk count string",
            ProtocolError::InlineTooLong => "Protocol error: too big inline request",
            ProtocolError::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
        };
        Cow::Borrowed(text.as_bytes())
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}

impl std::error::Error for ProtocolError {}

/// What the decoder is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not a byte of the request was seen.
    Start,
    /// In an inline request.
    Inline,
    /// In the count of a multibulk.
    Count,
    /// In the length of the next argument.
    BulkLength,
    /// In an argument of this many bytes.
    Bulk(usize),
    /// All arguments are known.
    Done,
}

/// A request that was decoded before its turn.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    consumed: usize,
    /// Where its arguments end in the list of all.
    end: usize,
}

/// Decodes the requests of one connection.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Where the current line or bulk begins.
    position: usize,
    /// Up to where the current line was searched for its end.
    scanned: usize,
    /// Arguments still to come.
    remaining: i64,
    /// The arguments of the current request, and behind them those of `ahead`, each relative to the first byte of its request.
    ranges: Vec<ArgRange>,
    /// Where those of the current request begin and, once it is complete, end.
    first: usize,
    end: usize,
    /// The requests behind the current one that are decoded already.
    ahead: VecDeque<Ahead>,
    is_inline: bool,
    /// The unquoted arguments of an inline request.
    inline_bytes: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a request.
    pub fn new() -> Decoder {
        Decoder {
            state: State::Start,
            position: 0,
            scanned: 0,
            remaining: 0,
            ranges: Vec::new(),
            first: 0,
            end: 0,
            ahead: VecDeque::new(),
            is_inline: false,
            inline_bytes: Vec::new(),
        }
    }

    /// Forgets the current request, and the ones behind it: what is decoded next need not be what follows.
    pub fn begin_anew(&mut self) {
        self.ahead.clear();
        self.reset();
    }

    /// Forgets the current request. Called before each new one, which must be the one that follows.
    pub fn reset(&mut self) {
        self.state = State::Start;
        self.position = 0;
        self.scanned = 0;
        self.remaining = 0;
        self.is_inline = false;
        self.inline_bytes.clear();
        if !self.ahead.is_empty() {
            self.first = self.end;
            return;
        }
        (self.first, self.end) = (0, 0);
        self.ranges.clear();
        if self.ranges.capacity() > RANGES_KEPT {
            self.ranges.shrink_to(RANGES_KEPT);
        }
        if self.inline_bytes.capacity() > INLINE_BYTES_KEPT {
            self.inline_bytes.shrink_to(INLINE_BYTES_KEPT);
        }
    }

    /// Memory held by the decoder itself, in bytes.
    pub fn bytes(&self) -> usize {
        let lists =
            self.ranges.capacity() * size_of::<ArgRange>() + self.ahead.capacity() * size_of::<Ahead>();
        size_of::<Decoder>() + lists + self.inline_bytes.capacity()
    }

    /// The arguments of a complete request. `buf` is the buffer given to [`Decoder::decode`].
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_inline { &self.inline_bytes } else { buf }, self.current())
    }

    fn current(&self) -> &[ArgRange] {
        &self.ranges[self.first..self.end]
    }

    /// The same, taken out of the query buffer, whose first `consumed` bytes are the complete request. A large request is not
    /// copied: the buffer's memory goes with it.
    pub fn take_args(&self, buf: &mut BytesMut, consumed: usize) -> OwnedArgs {
        if self.is_inline || consumed < TAKEN_BYTES_MIN {
            let args = OwnedArgs::from_args(self.args(buf));
            buf.advance(consumed);
            return args;
        }
        let request = buf.split_to(consumed).freeze();
        if buf.is_empty() {
            // What is left of it would keep the memory alive.
            *buf = BytesMut::new();
        }
        OwnedArgs::of_request(request, self.current())
    }

    /// Looks at `buf`, which begins with the request's first byte and holds at least what it held
    /// at the last call, if the request was incomplete then.
    pub fn decode(&mut self, buf: &[u8], limits: &Limits) -> Result<Decoded, ProtocolError> {
        if self.state == State::Start {
            if !limits.authenticated {
                // What was decoded ahead was allowed more.
                self.begin_anew();
            }
            if let Some(Ahead { consumed, end }) = self.ahead.pop_front() {
                return Ok(self.complete(consumed, end));
            }
            if let Some(consumed) = self.decode_whole(buf, limits) {
                return Ok(self.complete(consumed, self.ranges.len()));
            }
        }
        loop {
            let step = match self.state {
                State::Start => match buf.first() {
                    None => Some(Decoded::Incomplete { wanted: 0 }),
                    Some(b'*') => self.enter(State::Count, 0),
                    Some(_) => self.enter(State::Inline, 0),
                },
                State::Inline => Some(self.decode_inline(buf)?),
                State::Count => self.decode_count(buf, limits)?,
                State::BulkLength => self.decode_bulk_length(buf, limits)?,
                State::Bulk(len) => self.decode_bulk(buf, len),
                State::Done => Some(Decoded::Complete { consumed: self.position }),
            };
            if let Some(decoded) = step {
                return Ok(decoded);
            }
        }
    }

    /// Whether the request behind the current one is decoded.
    pub fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Decodes one more request behind those that are decoded; the current one must be complete. `buf` begins with its first byte. Its
    /// arguments, and the bytes it takes; nothing if it is not all there, or not a plain multibulk.
    pub fn decode_ahead<'a>(&'a mut self, buf: &'a [u8], limits: &Limits) -> Option<(Args<'a>, usize)> {
        let first = self.ranges.len();
        let consumed = self.decode_whole(buf, limits)?;
        self.ahead.push_back(Ahead { consumed, end: self.ranges.len() });
        Some((Args::new(buf, &self.ranges[first..]), consumed))
    }

    fn complete(&mut self, consumed: usize, end: usize) -> Decoded {
        self.enter(State::Done, consumed);
        self.end = end;
        Decoded::Complete { consumed }
    }

    /// A multibulk that is all there and has nothing unusual, as nearly all have: its arguments in one pass; where it ends. Of
    /// anything else no trace is left, and the states see to it.
    fn decode_whole(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        let (count, mut rest) = short_line(buf, b'*')?;
        if count == 0 || !limits.authenticated {
            return None;
        }
        let first = self.ranges.len();
        for _ in 0..count {
            let bulk = short_line(rest, b'$').filter(|&(len, bulk)| {
                // The two bytes behind it are there, too.
                bulk.len() >= len + 2 && len as u64 <= limits.bulk_len_max
            });
            let Some((len, bulk)) = bulk else {
                self.ranges.truncate(first);
                return None;
            };
            self.ranges.push(ArgRange::new(buf.len() - bulk.len(), len));
            rest = &bulk[len + 2..];
        }
        Some(buf.len() - rest.len())
    }

    fn enter(&mut self, state: State, position: usize) -> Option<Decoded> {
        self.state = state;
        self.position = position;
        self.scanned = position;
        None
    }

    /// Finds the end of the line at `position`; `buf[position..end]` is the line.
    fn find_line_end(&mut self, buf: &[u8], end_byte: u8) -> Option<usize> {
        let unseen = buf.get(self.scanned..).unwrap_or_default();
        match unseen.iter().position(|&b| b == end_byte || b == 0) {
            Some(offset) => {
                self.scanned += offset;
                (buf[self.scanned] == end_byte).then_some(self.scanned)
            }
            None => {
                self.scanned = buf.len();
                None
            }
        }
    }

    fn line_is_too_long(&self, buf: &[u8]) -> bool {
        buf.len() - self.position > LINE_LEN_MAX
    }

    fn decode_count(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Decoded>, ProtocolError> {
        let Some(end) = self.find_line_end(buf, b'\r') else {
            if self.line_is_too_long(buf) {
                return Err(ProtocolError::MultibulkCountTooLong);
            }
            return Ok(Some(Decoded::Incomplete { wanted: 0 }));
        };
        let next = end + 2;
        if buf.len() < next {
            return Ok(Some(Decoded::Incomplete { wanted: next }));
        }
        let count = parse_i64(&buf[self.position + 1..end])
            .filter(|&count| count <= MULTIBULK_COUNT_MAX)
            .ok_or(ProtocolError::MultibulkLength)?;
        if count > UNAUTHENTICATED_COUNT_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count <= 0 {
            self.reset();
            return Ok(Some(Decoded::Empty { consumed: next }));
        }
        self.remaining = count;
        Ok(self.enter(State::BulkLength, next))
    }

    fn decode_bulk_length(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Decoded>, ProtocolError> {
        let Some(end) = self.find_line_end(buf, b'\r') else {
            if self.line_is_too_long(buf) {
                return Err(ProtocolError::BulkCountTooLong);
            }
            return Ok(Some(Decoded::Incomplete { wanted: 0 }));
        };
        let next = end + 2;
        if buf.len() < next {
            return Ok(Some(Decoded::Incomplete { wanted: next }));
        }
        let first = buf[self.position];
        if first != b'$' {
            return Err(ProtocolError::ExpectedDollar(first));
        }
        let len = parse_i64(&buf[self.position + 1..end]).ok_or(ProtocolError::BulkLength)?;
        if u64::try_from(len).map_or(true, |len| len > limits.bulk_len_max) {
            return Err(ProtocolError::BulkLength);
        }
        if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
        Ok(self.enter(State::Bulk(len), next))
    }

    fn decode_bulk(&mut self, buf: &[u8], len: usize) -> Option<Decoded> {
        let next = self.position.saturating_add(len).saturating_add(2);
        if buf.len() < next {
            return Some(Decoded::Incomplete { wanted: next });
        }
        self.ranges.push(ArgRange::new(self.position, len));
        self.remaining -= 1;
        self.end = self.ranges.len();
        self.enter(if self.remaining == 0 { State::Done } else { State::BulkLength }, next)
    }

    fn decode_inline(&mut self, buf: &[u8]) -> Result<Decoded, ProtocolError> {
        let Some(end) = self.find_line_end(buf, b'\n') else {
            if self.line_is_too_long(buf) {
                return Err(ProtocolError::InlineTooLong);
            }
            return Ok(Decoded::Incomplete { wanted: 0 });
        };
        let line = &buf[..end];
        split_inline(line.strip_suffix(b"\r").unwrap_or(line), &mut self.inline_bytes, &mut self.ranges)?;
        let consumed = end + 1;
        if self.ranges.is_empty() {
            self.reset();
            return Ok(Decoded::Empty { consumed });
        }
        self.is_inline = true;
        Ok(self.complete(consumed, self.ranges.len()))
    }
}

/// A number of one to three digits behind `kind`, as a line; and what follows it. Longer ones, and leading zeros, are for the states.
fn short_line(buf: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let (_, line) = buf.split_first().filter(|&(&first, _)| first == kind)?;
    let mut number = 0;
    for (i, &byte) in line.iter().take(4).enumerate() {
        if byte == b'\r' && i > 0 {
            return Some((number, line.get(i + 2..)?));
        }
        if !byte.is_ascii_digit() || (number == 0 && i > 0) {
            return None;
        }
        number = 10 * number + usize::from(byte - b'0');
    }
    None
}

/// The words of a line, as arguments.
fn split_inline(line: &[u8], bytes: &mut Vec<u8>, ranges: &mut Vec<ArgRange>) -> Result<(), ProtocolError> {
    let (mut rest, mut start) = (line, bytes.len());
    while next_word(&mut rest, bytes).map_err(|Unbalanced| ProtocolError::UnbalancedQuotes)? {
        ranges.push(ArgRange::new(start, bytes.len() - start));
        start = bytes.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Decoded, Decoder, Limits, ProtocolError};
    use crate::base::random::Rng;

    const LIMITS: Limits = Limits { bulk_len_max: 512 << 20, authenticated: true };
    const STRANGER: Limits = Limits { authenticated: false, ..LIMITS };

    type Request = Vec<Vec<u8>>;

    /// Decodes all requests of a buffer that is whole.
    fn decode_all(bytes: &[u8], limits: &Limits) -> Result<Vec<Request>, ProtocolError> {
        decode_pieces([bytes], limits)
    }

    /// Decodes a stream that arrives in pieces.
    fn decode_pieces<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        limits: &Limits,
    ) -> Result<Vec<Request>, ProtocolError> {
        let (mut decoder, mut buf, mut requests) = (Decoder::new(), Vec::new(), Vec::new());
        for piece in pieces {
            buf.extend_from_slice(piece);
            loop {
                let consumed = match decoder.decode(&buf, limits)? {
                    Decoded::Incomplete { wanted } => {
                        assert!(wanted == 0 || wanted > buf.len(), "{wanted} of {}", buf.len());
                        break;
                    }
                    Decoded::Empty { consumed } => consumed,
                    Decoded::Complete { consumed } => {
                        requests.push(decoder.args(&buf).iter().map(<[u8]>::to_vec).collect());
                        consumed
                    }
                };
                decoder.reset();
                buf.drain(..consumed);
            }
        }
        Ok(requests)
    }

    fn encode(request: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for arg in request {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    fn line(text: &str) -> Result<Vec<Request>, ProtocolError> {
        decode_all(text.as_bytes(), &LIMITS)
    }

    fn request(args: &[&str]) -> Request {
        args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
    }

    fn error_of(bytes: &[u8], limits: &Limits) -> String {
        let error = decode_all(bytes, limits).unwrap_err();
        String::from_utf8_lossy(&error.text()).into_owned()
    }

    #[test]
    fn what_was_decoded_ahead_is_what_comes_next() {
        let requests: Vec<Request> = (0..5).map(|n| request(&["GET", &"k".repeat(n), "x"])).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
        let (mut decoder, mut rest) = (Decoder::new(), &bytes[..]);
        let next = |decoder: &mut Decoder, rest: &mut &[u8], limits: &Limits| -> Request {
            decoder.reset();
            let Ok(Decoded::Complete { consumed }) = decoder.decode(rest, limits) else {
                panic!("incomplete")
            };
            let words = decoder.args(rest).iter().map(<[u8]>::to_vec).collect();
            *rest = &rest[consumed..];
            words
        };
        assert_eq!(next(&mut decoder, &mut rest, &LIMITS), requests[0]);
        let mut behind = rest;
        for expected in &requests[1..3] {
            let (args, consumed) = decoder.decode_ahead(behind, &LIMITS).unwrap();
            assert_eq!(args.iter().map(<[u8]>::to_vec).collect::<Request>(), *expected);
            behind = &behind[consumed..];
        }
        assert!(decoder.decode_ahead(&behind[..5], &LIMITS).is_none(), "not all there");
        assert!(decoder.decode_ahead(b"PING\r\n", &LIMITS).is_none(), "inline");
        for expected in &requests[1..4] {
            assert_eq!(decoder.is_ahead(), *expected != requests[3]);
            assert_eq!(next(&mut decoder, &mut rest, &LIMITS), *expected);
        }
        // The same bytes again, and others than those that were decoded ahead.
        decoder.decode_ahead(rest, &LIMITS).unwrap();
        decoder.begin_anew();
        assert_eq!(next(&mut decoder, &mut &bytes[..], &LIMITS), requests[0]);
        // Nor does what was decoded ahead hold for who may send less now.
        decoder.decode_ahead(rest, &LIMITS).unwrap();
        assert_eq!(next(&mut decoder, &mut &bytes[..], &STRANGER), requests[0]);
    }

    #[test]
    fn requests_decode_alike_however_the_stream_is_cut() {
        let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\nPING \"a b\"\r\n\r\n*0\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\nGET k\n";
        let expected = [
            request(&["SET", "k", ""]),
            request(&["PING", "a b"]),
            request(&["QUIT"]),
            request(&["GET", "k"]),
        ];
        assert_eq!(decode_all(stream, &LIMITS).unwrap(), expected);
        for at in 0..stream.len() {
            assert_eq!(
                decode_pieces([&stream[..at], &stream[at..]], &LIMITS).unwrap(),
                expected,
                "cut at {at}"
            );
        }
        assert_eq!(decode_pieces(stream.chunks(1), &LIMITS).unwrap(), expected);
    }

    #[test]
    fn random_requests_come_back_as_they_were_encoded() {
        let mut rng = Rng::new(20);
        for _ in 0..300 {
            let requests: Vec<Request> = (0..1 + rng.below(4))
                .map(|_| {
                    let mut arg =
                        || (0..rng.below(40)).map(|_| b"a\r\n$*\0"[rng.below(6) as usize]).collect();
                    (0..5).map(|_| arg()).collect()
                })
                .collect();
            let stream: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
            let piece_len = 1 + rng.below(60) as usize;
            assert_eq!(decode_pieces(stream.chunks(piece_len), &LIMITS).unwrap(), requests);
        }
    }

    #[test]
    fn random_bytes_never_panic_and_cuts_do_not_change_the_outcome() {
        let mut rng = Rng::new(21);
        let alphabet = b"*$\r\n\r\n0123-\"'\\x aA\0";
        for _ in 0..20_000 {
            let len = rng.below(24);
            let bytes: Vec<u8> =
                (0..len).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect();
            assert_eq!(
                decode_all(&bytes, &LIMITS),
                decode_pieces(bytes.chunks(1), &LIMITS),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn errors_have_the_texts_of_redis() {
        for text in
            ["*a\r\n", "*\r\n", "* 1\r\n", "*+1\r\n", "*01\r\n", "*1x\r\n", "*-0\r\n", "*2147483648\r\n"]
        {
            assert_eq!(
                error_of(text.as_bytes(), &LIMITS),
                "Protocol error: invalid multibulk length",
                "{text}"
            );
        }
        for text in ["$-1", "$a", "$536870913", "$4x", "$-0", "$00", "$12345678901234567890"] {
            let bytes = format!("*1\r\n{text}\r\n");
            assert_eq!(error_of(bytes.as_bytes(), &LIMITS), "Protocol error: invalid bulk length", "{text}");
        }
        assert_eq!(error_of(b"*1\r\n:4\r\n", &LIMITS), "Protocol error: expected '$', got ':'");
        assert_eq!(error_of(b"*1\r\n\r\n", &LIMITS), "Protocol error: expected '$', got ' '");
        assert_eq!(error_of(b"*2\r\n$4\r\nPING\r\n*1\r\n", &LIMITS), "Protocol error: expected '$', got '*'");
        assert_eq!(
            ProtocolError::ExpectedDollar(0xff).text().as_ref(),
            b"Protocol error: expected '$', got '\xff'"
        );
        for text in
            ["\"PING\r\n", "'PING\r\n", "\"PING\"x\r\n", "'PING'x\r\n", "PING x\"\r\n", "PING \"a\\\"\r\n"]
        {
            let expected = "Protocol error: unbalanced quotes in request";
            assert_eq!(error_of(text.as_bytes(), &LIMITS), expected, "{text}");
        }
    }

    #[test]
    fn a_stranger_may_send_little() {
        let count = "Protocol error: unauthenticated multibulk length";
        assert_eq!(error_of(b"*11\r\n", &STRANGER), count);
        assert_eq!(error_of(b"*10\r\n$16385\r\n", &STRANGER), "Protocol error: unauthenticated bulk length");
        assert_eq!(decode_all(b"*10\r\n$16384\r\n", &STRANGER), Ok(vec![]));
        assert_eq!(error_of(b"*2147483648\r\n", &STRANGER), "Protocol error: invalid multibulk length");
    }

    #[test]
    fn a_line_without_end_is_refused_beyond_64_kilobytes() {
        let starts = [
            ("*", "Protocol error: too big mbulk count string"),
            ("*1\r\n$", "Protocol error: too big bulk count string"),
            ("1", "Protocol error: too big inline request"),
            // A NUL byte hides the end of its line.
            ("PING \0\r\n", "Protocol error: too big inline request"),
        ];
        for (start, text) in starts {
            let line_start = start.find('$').unwrap_or(0);
            let mut bytes = start.as_bytes().to_vec();
            bytes.resize(line_start + 65536, b'1');
            assert_eq!(decode_all(&bytes, &LIMITS), Ok(vec![]), "{start}");
            bytes.push(b'1');
            assert_eq!(error_of(&bytes, &LIMITS), text);
        }
    }

    #[test]
    fn inline_arguments_are_unquoted() {
        let cases: [(&str, &[&str]); 14] = [
            ("PING\n", &["PING"]),
            (" PING  a \r\n", &["PING", "a"]),
            ("PING\ta\r\n", &["PING", "a"]),
            ("PING a\rb\r\n", &["PING", "a", "b"]),
            ("PING \x0b\x0cx\r\n", &["PING", "x"]),
            ("PING a\x0bb\r\n", &["PING", "a\x0bb"]),
            ("PI\"NG\" a\"b c\"\r\n", &["PING", "ab c"]),
            ("PING \"\" ''\r\n", &["PING", "", ""]),
            ("\"P\\x49NG\"\r\n", &["PING"]),
            ("PING \"\\x4\" \"\\xzz\"\r\n", &["PING", "x4", "xzz"]),
            ("PING \"a\\n\\r\\t\\b\\a\\\\\\\"q\\z\"\r\n", &["PING", "a\n\r\t\x08\x07\\\"qz"]),
            ("PING 'it\\'s' 'a\\n'\r\n", &["PING", "it's", "a\\n"]),
            ("PING a\\nb\r\n", &["PING", "a\\nb"]),
            ("\r\nPING\r\r\n", &["PING"]),
        ];
        for (text, args) in cases {
            assert_eq!(line(text), Ok(vec![request(args)]), "{}", text.escape_debug());
        }
        assert_eq!(line("\r\n   \r\n\n*-99999999999\r\n"), Ok(vec![]));
    }

    #[test]
    fn a_partial_request_says_how_much_is_wanted() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(b"*1\r\n$100\r\nabc", &LIMITS), Ok(Decoded::Incomplete { wanted: 112 }));
        assert_eq!(decoder.decode(b"*1\r\n$100\r\nabcd", &LIMITS), Ok(Decoded::Incomplete { wanted: 112 }));
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_what_is_announced() {
        let mut decoder = Decoder::new();
        let start = b"*2147483647\r\n$1\r\na\r\n$536870912\r\n";
        assert!(matches!(decoder.decode(start, &LIMITS), Ok(Decoded::Incomplete { .. })));
        assert!(decoder.bytes() < 1024);

        let large = encode(&vec![b"x".to_vec(); 100_000]);
        decoder.reset();
        assert_eq!(decoder.decode(&large, &LIMITS), Ok(Decoded::Complete { consumed: large.len() }));
        decoder.reset();
        assert!(decoder.bytes() < 64 * 1024, "a large request's list is given back");
    }
}
