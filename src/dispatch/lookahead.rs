//! Looks at the requests of a pipeline that come next, for their keys and elements (`keyspace::foresight`).
//!
//! It only looks: what it decodes is decoded again when its turn comes, and a request it does not understand ends the look.

use super::node::Node;
use super::spec::Flag;
use crate::encoding::row::Position;
use crate::keyspace::Foresight;
use crate::resp::{Args, Decoded, Decoder, Limits};
use crate::session::Session;

/// Requests looked at in one go.
const REQUESTS_MAX: usize = 16;
/// A request longer than this ends the look: it has enough to do, and is not to be decoded twice.
const REQUEST_BYTES_MAX: usize = 4096;

/// What a worker looks ahead with.
#[derive(Default)]
pub struct Lookahead {
    decoder: Decoder,
    foresight: Foresight,
}

impl Lookahead {
    /// Asks for what the requests at the beginning of `input` will touch; how many they are.
    pub fn look(&mut self, node: &Node, session: &Session, input: &[u8], limits: &Limits) -> usize {
        let keyspace = &node.keyspace;
        let Some(namespace) = keyspace.namespace(session.database) else { return 0 };
        let (mut at, mut requests) = (0, 0);
        while requests < REQUESTS_MAX && !self.foresight.is_full() {
            self.decoder.reset();
            let rest = &input[at..input.len().min(at + REQUEST_BYTES_MAX)];
            let Ok(Decoded::Complete { consumed }) = self.decoder.decode(rest, limits) else { break };
            (at, requests) = (at + consumed, requests + 1);
            let args = self.decoder.args(rest);
            let Ok(entry) = node.table.find(args) else { continue };
            if entry.spec.flags.has(Flag::Blocking) {
                continue;
            }
            for key in entry.spec.lock_keys(args) {
                if self.foresight.is_full() {
                    break;
                }
                let name = args.at(key.index as usize);
                let position = Position::of_key(keyspace.seed(), name);
                match element(entry.spec.element, args) {
                    Some(element) => {
                        self.foresight.add_element(keyspace, namespace, position, name, element);
                    }
                    None => self.foresight.add(keyspace, namespace, position, name),
                }
            }
        }
        self.foresight.fetch(keyspace);
        requests
    }
}

/// The element that a command names in this argument (`Spec::element`).
fn element<'a>(argument: i32, args: Args<'a>) -> Option<&'a [u8]> {
    match usize::try_from(argument) {
        Ok(0) => None,
        Ok(index) => args.get(index),
        Err(_) => args.get(args.len().checked_sub(argument.unsigned_abs() as usize)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn an_element_is_found_from_either_end() {
        let args = OwnedArgs::from_slices(&[b"ZADD", b"key", b"1", b"member"]);
        let named = |argument| element(argument, args.args());
        assert_eq!(named(2), Some(&b"1"[..]));
        assert_eq!(named(-1), Some(&b"member"[..]));
        assert_eq!([0, 4, -5].map(named), [None; 3]);
    }
}
