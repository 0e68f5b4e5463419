//! Brings the memory of keys and elements that will soon be wanted nearer, many at once.
//!
//! A hit in a large hot tier waits for main memory: for the key's stripe, for its slot in the table, for the row. Where the
//! keys of several commands are known beforehand, all their stripes and slots are asked for first, then all rows; the
//! waits go by together. Where an element of a key lies stands in the key's head, so elements are asked for where a key comes
//! several times. Nothing is decided by it: what was foreseen wrongly has cost a few instructions.

use super::stripes::StripeId;
use super::{Keyspace, hot_name};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Head};
use crate::encoding::row::{Namespace, Place, Position, RowKey, head_row};
use crate::hot::{Foreseen, Lookup};
use smallvec::SmallVec;
use std::cell::OnceCell;

/// Keys foreseen at a time, at most.
pub const FORESEEN_MAX: usize = 32;

/// Keys and elements whose slots are on their way.
#[derive(Default)]
pub struct Foresight {
    slots: SmallVec<[Foreseen; FORESEEN_MAX]>,
    last: Option<LastKey>,
}

/// The last key that came with an element.
struct LastKey {
    head: RowKey,
    /// Where its elements lie, if they lie apart; looked up when it comes again.
    place: OnceCell<Option<(Family, Place)>>,
}

impl Foresight {
    /// True when no more keys are to be added before `fetch`.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= FORESEEN_MAX
    }

    /// Asks for the stripe and the slot of a key.
    pub fn add(&mut self, keyspace: &Keyspace, namespace: Namespace, position: Position, name: &[u8]) {
        self.add_head(keyspace, position, &head_row(namespace, position, name));
    }

    fn add_head(&mut self, keyspace: &Keyspace, position: Position, row: &RowKey) {
        keyspace.stripes.prefetch(StripeId::of(position));
        self.slots.push(keyspace.hot.foresee(hot_name(Family::Keys, row)));
    }

    /// The same for a key and one of its elements, a field or a member. Only where the same key comes again are its elements asked for: of keys
    /// that are all different most are small, with their elements in the head, and waiting for each head would cost more than it brings.
    pub fn add_element(
        &mut self,
        keyspace: &Keyspace,
        namespace: Namespace,
        position: Position,
        name: &[u8],
        element: &[u8],
    ) {
        let head = head_row(namespace, position, name);
        if let Some(last) = self.last.as_ref().filter(|last| last.head == head) {
            if let Some((family, place)) = last.place.get_or_init(|| place_of_elements(keyspace, &head)) {
                let row = place.field_row(keyspace.seed(), element);
                self.slots.push(keyspace.hot.foresee(hot_name(*family, &row)));
            }
            return;
        }
        self.add_head(keyspace, position, &head);
        self.last = Some(LastKey { head, place: OnceCell::new() });
    }

    /// Asks for the rows of all keys and elements added, and begins anew.
    pub fn fetch(&mut self, keyspace: &Keyspace) {
        for slot in self.slots.drain(..) {
            keyspace.hot.fetch(slot);
        }
        self.last = None;
    }
}

/// Where a key's elements lie by their names, if its head is hot and they lie apart from it.
fn place_of_elements(keyspace: &Keyspace, head: &RowKey) -> Option<(Family, Place)> {
    let Lookup::Hit(value) = keyspace.hot.get_quiet(hot_name(Family::Keys, head)) else { return None };
    let head = Head::decode(&value).ok()?;
    let Body::Spread(spread) = head.body else { return None };
    let family = match head.data_type {
        DataType::Hash => Family::Hash,
        DataType::Set => Family::Set,
        DataType::Zset => Family::Member,
        _ => return None,
    };
    Some((family, spread.place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::head::Spread;
    use crate::keyspace::NewHead;
    use crate::keyspace::testbed::Testbed;

    /// A hash with one field, apart from its head, and a string.
    fn filled() -> (Testbed, Place) {
        let bed = Testbed::open();
        let place = bed.run(|txn| {
            let (hash, string) = (txn.key(0, b"hash"), txn.key(0, b"string"));
            let place = txn.new_place(&hash);
            let row = place.field_row(txn.keyspace().seed(), b"field");
            txn.insert_element(&hash, Family::Hash, &row, b"value")?;
            txn.save(
                &hash,
                NewHead::new(DataType::Hash, Body::Spread(Spread { place, count: 1, extra: b"" })),
            )?;
            txn.save(&string, NewHead::new(DataType::String, Body::Whole(b"value")))?;
            Ok(place)
        });
        (bed, place)
    }

    #[test]
    fn elements_lie_where_a_hot_head_says() {
        let (bed, place) = filled();
        let head = |name: &[u8]| bed.run(|txn| Ok(RowKey::from_slice(txn.key(0, name).row())));
        assert_eq!(place_of_elements(&bed.keyspace, &head(b"hash")), Some((Family::Hash, place)));
        assert_eq!(place_of_elements(&bed.keyspace, &head(b"string")), None);
        assert_eq!(place_of_elements(&bed.keyspace, &head(b"none")), None);
        bed.keyspace.hot().clear();
        assert_eq!(place_of_elements(&bed.keyspace, &head(b"hash")), None, "nothing is read for it");
    }

    #[test]
    fn a_key_that_comes_again_has_its_elements_asked_for_and_leaves_no_trace() {
        let (bed, place) = filled();
        let (keyspace, before) = (&bed.keyspace, bed.keyspace.hot().stats());
        let mut foresight = Foresight::default();
        for name in [&b"hash"[..], b"hash", b"string", b"string", b"hash"] {
            let position = Position::of_key(keyspace.seed(), name);
            let namespace = keyspace.namespace(0).unwrap();
            foresight.add_element(keyspace, namespace, position, name, b"field");
        }
        let head = |name: &[u8]| {
            let row = bed.run(|txn| Ok(RowKey::from_slice(txn.key(0, name).row())));
            keyspace.hot.foresee(hot_name(Family::Keys, &row))
        };
        let row = place.field_row(keyspace.seed(), b"field");
        let field = keyspace.hot.foresee(hot_name(Family::Hash, &row));
        assert_eq!(foresight.slots[..], [head(b"hash"), field, head(b"string"), head(b"hash")]);
        foresight.fetch(keyspace);
        assert!(foresight.slots.is_empty() && foresight.last.is_none(), "it begins anew");
        assert_eq!(keyspace.hot().stats(), before);
    }
}
