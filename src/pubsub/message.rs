//! A message as the wire has it, encoded once for all who get it.
//!
//! The two protocols differ in the first byte only (`*` of an array, `>` of a push), so the bytes are kept as RESP2 has them and the
//! first is replaced for whom speaks RESP3.

use super::Kind;
use crate::resp::{Proto, Reply};
use std::sync::Arc;

/// An encoded message; clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Arc<[u8]>);

impl Message {
    /// `message` or `smessage`.
    pub fn by_channel(kind: Kind, channel: &[u8], payload: &[u8]) -> Message {
        let word: &[u8] = if kind == Kind::Shard { b"smessage" } else { b"message" };
        Message::of_words(&[word, channel, payload])
    }

    /// `pmessage`.
    pub fn by_pattern(pattern: &[u8], channel: &[u8], payload: &[u8]) -> Message {
        Message::of_words(&[b"pmessage", pattern, channel, payload])
    }

    /// Bytes that are the same in both protocols.
    pub fn raw(bytes: &[u8]) -> Message {
        Message(bytes.into())
    }

    fn of_words(words: &[&[u8]]) -> Message {
        let mut out = Vec::with_capacity(words.iter().map(|word| word.len() + 16).sum());
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        reply.push(words.len());
        words.iter().for_each(|word| reply.bulk(word));
        Message(out.into())
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first byte as this protocol has it, and the others.
    pub fn parts(&self, proto: Proto) -> (u8, &[u8]) {
        match self.0.split_first() {
            Some((b'*', rest)) if proto == Proto::Resp3 => (b'>', rest),
            Some((first, rest)) => (*first, rest),
            None => (b'\n', b""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_encoding_serves_both_protocols() {
        let check = |message: &Message, rest: &str| {
            for (proto, first) in [(Proto::Resp2, b'*'), (Proto::Resp3, b'>')] {
                let (got, tail) = message.parts(proto);
                assert_eq!((got, String::from_utf8_lossy(tail).replace("\r\n", " ").as_str()), (first, rest));
            }
        };
        check(&Message::by_channel(Kind::Channel, b"c", b"hi"), "3 $7 message $1 c $2 hi ");
        check(&Message::by_channel(Kind::Shard, b"c", b""), "3 $8 smessage $1 c $0  ");
        check(&Message::by_pattern(b"c*", b"c", b"hi"), "4 $8 pmessage $2 c* $1 c $2 hi ");
    }
}
