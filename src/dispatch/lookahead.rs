//! Looks at the requests of a pipeline that come next, for their keys and elements (`keyspace::foresight`).
//!
//! It only looks: a request that is not a plain one ends the look, and is understood or refused when its turn comes.

use super::node::Node;
use super::spec::Flag;
use crate::encoding::row::Position;
use crate::keyspace::Foresight;
use crate::resp::{Args, Decoder, Limits};
use crate::session::Session;

/// Requests looked at in one go.
const REQUESTS_MAX: usize = 16;
/// A request longer than this ends the look: it has enough to do.
const REQUEST_BYTES_MAX: usize = 4096;

/// What a worker looks ahead with.
#[derive(Default)]
pub struct Lookahead {
    foresight: Foresight,
}

impl Lookahead {
    /// Asks for what the requests at the beginning of `input` will touch, which follow the one that the decoder has at hand.
    pub fn look(
        &mut self,
        node: &Node,
        session: &Session,
        decoder: &mut Decoder,
        input: &[u8],
        limits: &Limits,
    ) {
        let keyspace = &node.keyspace;
        let Some(namespace) = keyspace.namespace(session.database) else { return };
        let mut at = 0;
        for _ in 0..REQUESTS_MAX {
            if self.foresight.is_full() {
                break;
            }
            let rest = &input[at..input.len().min(at + REQUEST_BYTES_MAX)];
            let Some((args, consumed)) = decoder.decode_ahead(rest, limits) else { break };
            at += consumed;
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
