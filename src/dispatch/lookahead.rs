//! Looks at the requests of a pipeline that come next, for their keys (`keyspace::foresight`).
//!
//! It only looks: what it decodes is decoded again when its turn comes, and a request it does not understand ends the look.

use super::node::Node;
use super::spec::Flag;
use crate::encoding::row::Position;
use crate::keyspace::Foresight;
use crate::resp::{Decoded, Decoder, Limits};
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
                self.foresight.add(keyspace, namespace, Position::of_key(keyspace.seed(), name), name);
            }
        }
        self.foresight.fetch(keyspace);
        requests
    }
}
