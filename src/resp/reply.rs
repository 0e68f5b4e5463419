//! Writes replies in RESP2 or RESP3.
//!
//! A [`Reply`] appends to a buffer it borrows. What RESP2 cannot say is written in its nearest form:
//! a map as a flat array of twice the length, a set as an array, a double as a bulk, a boolean as 0
//! or 1, a null as a null bulk. A count known only at the end is written by a deferred header: the
//! bytes since the mark move up by the header's few bytes, once.

use crate::base::number::{IntText, write_f64, write_i64, write_u64};

/// The protocol version a client has chosen with HELLO.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Proto {
    /// The protocol every client begins with.
    Resp2,
    /// With maps, sets, doubles, booleans and pushes.
    Resp3,
}

/// Where a deferred header belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a deferred header must be filled"]
pub struct Mark {
    position: usize,
}

/// Appends replies to a buffer.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    proto: Proto,
}

impl<'a> Reply<'a> {
    /// Writes at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Reply<'a> {
        let start = out.len();
        Reply { out, start, proto }
    }

    /// The protocol written.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Bytes written through this reply so far.
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.out[self.start..]
    }

    /// Whether what was written begins with an error.
    pub fn is_error(&self) -> bool {
        self.written().first() == Some(&b'-')
    }

    /// Takes back everything after the first `len` bytes of this reply.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(self.start.saturating_add(len));
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; must be one line.
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.end_line();
    }

    /// An error; `text` begins with its code (`ERR ...`) and without the minus.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// An error that may quote bytes of the client. Line ends around it go, those inside become
    /// blanks, so that it is always one line.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_line_end = |&b: &u8| b == b'\r' || b == b'\n';
        let start = text.iter().position(|b| !is_line_end(b)).unwrap_or(text.len());
        let end = text.iter().rposition(|b| !is_line_end(b)).map_or(start, |last| last + 1);
        self.out.push(b'-');
        self.out.extend(text[start..end].iter().map(|b| if is_line_end(b) { b' ' } else { *b }));
        self.end_line();
    }

    /// `:n`
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 26);
        self.bulk_header(bytes.len());
        self.out.extend_from_slice(bytes);
        self.end_line();
    }

    /// A bulk string of text.
    pub fn bulk_str(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// An integer written as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(IntText::new(value).as_bytes());
    }

    /// A bulk string of exactly `len` bytes, which `write` appends to the buffer. Should it append
    /// another number of bytes, the rest is cut or filled with zeros, so that the reply stays whole.
    pub fn bulk_with(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.reserve(len.min(1 << 20) + 26);
        self.bulk_header(len);
        let end = self.out.len() + len;
        write(self.out);
        debug_assert_eq!(self.out.len(), end, "a bulk has the length announced");
        self.out.resize(end, 0);
        self.end_line();
    }

    /// Makes room for so many bytes at once, which are known to follow.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// A null: `$-1`, or `_` in RESP3.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A null in place of an array: `*-1`, or `_` in RESP3.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `count` elements.
    pub fn array(&mut self, count: usize) {
        self.count_header(b'*', count);
    }

    /// The header of a map of `count` pairs.
    pub fn map(&mut self, count: usize) {
        let (kind, count) = self.map_header(count);
        self.count_header(kind, count);
    }

    /// The header of a set of `count` members.
    pub fn set(&mut self, count: usize) {
        self.count_header(self.set_kind(), count);
    }

    /// The header of a push of `count` elements.
    pub fn push(&mut self, count: usize) {
        self.count_header(if self.is_resp3() { b'>' } else { b'*' }, count);
    }

    /// A double; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        if self.is_resp3() {
            self.out.push(b',');
            write_f64(self.out, value);
        } else {
            let start = self.out.len();
            write_f64(self.out, value);
            let end = self.out.len();
            self.bulk_header(end - start);
            // The header belongs before the text, whose length was not known.
            self.out[start..].rotate_left(end - start);
        }
        self.end_line();
    }

    /// A boolean; `:1` or `:0` in RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.proto, value) {
            (Proto::Resp2, true) => b":1\r\n",
            (Proto::Resp2, false) => b":0\r\n",
            (Proto::Resp3, true) => b"#t\r\n",
            (Proto::Resp3, false) => b"#f\r\n",
        });
    }

    /// Text with its format, three letters (`txt`, `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        let mut code = [b' '; 3];
        code.iter_mut().zip(format).for_each(|(to, from)| *to = *from);
        self.header(b'=', (text.len() + 4) as i64);
        self.out.extend_from_slice(&code);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.end_line();
    }

    /// A number of any length in decimal; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if !self.is_resp3() {
            return self.bulk_str(digits);
        }
        self.out.push(b'(');
        self.out.extend_from_slice(digits.as_bytes());
        self.end_line();
    }

    /// Bytes that are replies already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Begins an array, a map or a set whose count comes later: fill it when its elements are
    /// written. Nested marks are filled innermost first.
    pub fn deferred_array(&mut self) -> Mark {
        Mark { position: self.out.len() }
    }

    /// Same as [`Reply::deferred_array`], for a map.
    pub fn deferred_map(&mut self) -> Mark {
        self.deferred_array()
    }

    /// Same as [`Reply::deferred_array`], for a set.
    pub fn deferred_set(&mut self) -> Mark {
        self.deferred_array()
    }

    /// Makes what was written since the mark an array of `count` elements.
    pub fn fill_array(&mut self, mark: Mark, count: usize) {
        self.fill(mark, b'*', count);
    }

    /// Makes what was written since the mark a map of `count` pairs.
    pub fn fill_map(&mut self, mark: Mark, count: usize) {
        let (kind, count) = self.map_header(count);
        self.fill(mark, kind, count);
    }

    /// Makes what was written since the mark a set of `count` members.
    pub fn fill_set(&mut self, mark: Mark, count: usize) {
        self.fill(mark, self.set_kind(), count);
    }

    /// Puts a bulk string before what was written since the mark.
    pub fn insert_bulk(&mut self, mark: Mark, bytes: &[u8]) {
        let body_end = self.out.len();
        let position = mark.position.min(body_end);
        self.bulk(bytes);
        let len = self.out.len() - body_end;
        self.out[position..].rotate_right(len);
    }

    fn fill(&mut self, mark: Mark, kind: u8, count: usize) {
        let body_end = self.out.len();
        let position = mark.position.min(body_end);
        self.count_header(kind, count);
        let header_len = self.out.len() - body_end;
        self.out[position..].rotate_right(header_len);
    }

    fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    fn set_kind(&self) -> u8 {
        if self.is_resp3() { b'~' } else { b'*' }
    }

    fn map_header(&self, pairs: usize) -> (u8, usize) {
        if self.is_resp3() { (b'%', pairs) } else { (b'*', pairs * 2) }
    }

    fn header(&mut self, kind: u8, value: i64) {
        self.out.push(kind);
        write_i64(self.out, value);
        self.end_line();
    }

    fn count_header(&mut self, kind: u8, count: usize) {
        let digit = |number: usize| b'0' + (number % 10) as u8;
        match count {
            // As short as nearly all are, it is one piece.
            0..10 => self.out.extend_from_slice(&[kind, digit(count), b'\r', b'\n']),
            10..100 => {
                self.out.extend_from_slice(&[kind, digit(count / 10), digit(count), b'\r', b'\n']);
            }
            _ => {
                self.out.push(kind);
                write_u64(self.out, count as u64);
                self.end_line();
            }
        }
    }

    fn bulk_header(&mut self, len: usize) {
        self.count_header(b'$', len);
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::{Proto, Reply};

    fn both(write: impl Fn(&mut Reply<'_>)) -> (String, String) {
        let one = |proto| {
            let mut out = b"before".to_vec();
            write(&mut Reply::new(&mut out, proto));
            String::from_utf8_lossy(&out[6..]).replace("\r\n", "|")
        };
        (one(Proto::Resp2), one(Proto::Resp3))
    }

    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        assert_eq!(both(write), (resp2.to_string(), resp3.to_string()));
    }

    #[test]
    fn every_kind_has_its_form_in_both_protocols() {
        check(|r| r.ok(), "+OK|", "+OK|");
        check(|r| r.simple("PONG"), "+PONG|", "+PONG|");
        check(|r| r.error("ERR no"), "-ERR no|", "-ERR no|");
        check(|r| r.integer(-7), ":-7|", ":-7|");
        check(|r| r.integer(i64::MIN), ":-9223372036854775808|", ":-9223372036854775808|");
        check(|r| r.bulk(b""), "$0||", "$0||");
        check(|r| r.bulk_str("abc"), "$3|abc|", "$3|abc|");
        check(|r| r.bulk_integer(12), "$2|12|", "$2|12|");
        check(|r| r.bulk_with(2, |out| out.extend_from_slice(b"hi")), "$2|hi|", "$2|hi|");
        check(|r| r.null(), "$-1|", "_|");
        check(|r| r.null_array(), "*-1|", "_|");
        check(|r| r.array(2), "*2|", "*2|");
        check(|r| r.map(2), "*4|", "%2|");
        check(|r| r.set(2), "*2|", "~2|");
        check(|r| r.push(2), "*2|", ">2|");
        check(|r| r.double(0.1), "$3|0.1|", ",0.1|");
        check(|r| r.double(f64::NEG_INFINITY), "$4|-inf|", ",-inf|");
        check(|r| r.boolean(true), ":1|", "#t|");
        check(|r| r.boolean(false), ":0|", "#f|");
        check(|r| r.verbatim(b"txt", b"hello"), "$5|hello|", "=9|txt:hello|");
        check(|r| r.big_number("123"), "$3|123|", "(123|");
        check(|r| r.raw(b":1\r\n"), ":1|", ":1|");
    }

    #[test]
    fn an_error_is_always_one_line() {
        check(|r| r.error("\r\nERR a\r\nb\nc\n"), "-ERR a  b c|", "-ERR a  b c|");
        check(|r| r.error("\n"), "-|", "-|");
    }

    #[test]
    fn deferred_headers_nest() {
        let write = |r: &mut Reply<'_>| {
            let outer = r.deferred_map();
            r.bulk(b"k");
            let inner = r.deferred_set();
            (0..12).for_each(|i| r.integer(i));
            r.fill_set(inner, 12);
            r.fill_map(outer, 1);
            let none = r.deferred_array();
            r.fill_array(none, 0);
        };
        let numbers: String = (0..12).map(|i| format!(":{i}|")).collect();
        check(write, &format!("*2|$1|k|*12|{numbers}*0|"), &format!("%1|$1|k|~12|{numbers}*0|"));
    }

    #[test]
    fn a_bulk_known_late_can_stand_first() {
        let write = |r: &mut Reply<'_>| {
            let whole = r.deferred_array();
            let first = r.deferred_array();
            r.integer(1);
            r.insert_bulk(first, b"k");
            r.fill_array(whole, 2);
        };
        check(write, "*2|$1|k|:1|", "*2|$1|k|:1|");
    }

    #[test]
    fn a_reply_can_be_taken_back_but_not_what_was_there_before() {
        let mut out = b"+OK\r\n".to_vec();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        assert!(reply.is_empty() && !reply.is_error());
        reply.integer(1);
        let len = reply.len();
        reply.bulk(b"gone");
        reply.truncate(len);
        assert_eq!(reply.written(), b":1\r\n");
        reply.truncate(0);
        reply.error("ERR x");
        assert!(reply.is_error());
        assert_eq!(out, b"+OK\r\n-ERR x\r\n");
    }
}
