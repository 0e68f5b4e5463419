//! Nodes: which entries Redis would keep in one listpack.
//!
//! Redis opens a node with a *master* entry, whose fields its other entries need not repeat, and opens the next one when it has
//! `stream-node-max-entries` (deleted ones included) or would grow to `stream-node-max-bytes`. An approximate trim takes whole
//! nodes. Nothing is kept in nodes here; what is followed is how large they would be, so that such a trim takes just what Redis would.
//!
//! One thing is not followed: when the newest node has been emptied by deletions, Redis goes on filling the one before it, here a new one
//! is begun.

use crate::base::hash::keyed_hash;
use crate::encoding::stream::{Extra, Front, Id, Tail};
use crate::keyspace::Txn;
use crate::types::list::listpack::{EMPTY_BYTES, element_bytes, integer_bytes};

/// A listpack is never larger than this.
const LISTPACK_BYTES_MAX: u64 = 1 << 30;

/// Takes note of an entry that is added.
pub(super) fn grow<'w>(
    txn: &Txn<'_>,
    extra: &mut Extra,
    id: Id,
    words: impl Iterator<Item = &'w [u8]> + Clone,
) {
    let text_bytes: u64 = words.clone().map(|word| word.len() as u64).sum();
    let tuning = txn.keyspace().tuning();
    let bytes_max = match tuning.stream_node_bytes_max() as u64 {
        0 => LISTPACK_BYTES_MAX,
        bytes => bytes.min(LISTPACK_BYTES_MAX),
    };
    let entries_max = tuning.stream_node_entries_max();
    let tail = &mut extra.tail;
    let entries = i64::from(tail.live) + i64::from(tail.deleted);
    let is_full = tail.live == 0
        || listpack_bytes(tail) + text_bytes >= bytes_max
        || (entries_max != 0 && entries >= entries_max);
    let fields = words.clone().step_by(2);
    let fields_hash = hash_of(fields.clone());
    let count = fields.clone().count() as i64;
    let fields_bytes = || fields.map(element_bytes).sum::<u64>();
    if is_full {
        *tail = Tail { node: tail.node + 1, first_id: id, fields_hash, ..Tail::default() };
        tail.bytes = integer_bytes(count) + fields_bytes() + integer_bytes(0);
    } else if tail.fields_hash != fields_hash {
        tail.bytes += integer_bytes(count) + fields_bytes();
    }
    let lengths = if tail.fields_hash == fields_hash { count + 3 } else { 2 * count + 4 };
    let apart = |now: u64, then: u64| integer_bytes(now.wrapping_sub(then) as i64);
    tail.bytes += integer_bytes(0)
        + apart(id.ms, tail.first_id.ms)
        + apart(id.seq, tail.first_id.seq)
        + words.skip(1).step_by(2).map(element_bytes).sum::<u64>()
        + integer_bytes(lengths);
    tail.live += 1;
    tail.last_id = id;
}

fn listpack_bytes(tail: &Tail) -> u64 {
    EMPTY_BYTES + integer_bytes(tail.live.into()) + integer_bytes(tail.deleted.into()) + tail.bytes
}

/// Takes note of an entry that is removed.
pub(super) fn shrink(extra: &mut Extra, node: u64) {
    if node == extra.tail.node {
        extra.tail.live = extra.tail.live.saturating_sub(1);
        extra.tail.deleted += 1;
    }
    if node == extra.front.node && extra.front.live > 0 {
        extra.front.live -= 1;
    }
}

/// What is known of a node.
pub(super) fn known(extra: &Extra, node: u64) -> Option<Front> {
    if node == extra.tail.node {
        let Tail { last_id, live, .. } = extra.tail;
        return Some(Front { node, last_id, live });
    }
    Some(extra.front).filter(|front| front.live > 0 && front.node == node)
}

/// The hash on disk: it must not change.
fn hash_of<'w>(fields: impl Iterator<Item = &'w [u8]>) -> u64 {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    keyed_hash(&[0; 16], &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::testbed::Testbed;

    fn node_sizes(bed: &Testbed, entries: u64, words: &[&[u8]]) -> Vec<u32> {
        bed.run(|txn| {
            let mut extra = Extra::default();
            let mut sizes = Vec::new();
            for number in 1..=entries {
                let before = extra.tail;
                grow(txn, &mut extra, Id { ms: number, seq: 0 }, words.iter().copied());
                if before.node != 0 && before.node != extra.tail.node {
                    sizes.push(before.live);
                }
            }
            sizes.push(extra.tail.live);
            Ok(sizes)
        })
    }

    #[test]
    fn a_node_ends_with_its_entries_or_its_bytes() {
        let bed = Testbed::open();
        assert_eq!(node_sizes(&bed, 250, &[b"f", b"v"]), [100, 100, 50]);
        // As DEBUG LISTPACK shows them on a Redis: values of 300 bytes, 4096 in a node.
        assert_eq!(node_sizes(&bed, 30, &[b"f", &[b'x'; 300]]), [12, 12, 6]);
        bed.keyspace.tuning().set_stream_node_entries_max(0);
        bed.keyspace.tuning().set_stream_node_bytes_max(0);
        assert_eq!(node_sizes(&bed, 1000, &[b"f", b"v"]), [1000]);
    }

    #[test]
    fn the_hash_of_fields_does_not_change() {
        assert_eq!(hash_of([&b"a"[..], b"b"].into_iter()), 0);
        assert_ne!(hash_of([&b"a"[..], b"b"].into_iter()), hash_of([&b"ab"[..]].into_iter()));
    }
}
