//! Brings the memory of keys and elements that will soon be wanted nearer, many at once.
//!
//! A hit in a large hot tier waits for main memory: for the key's stripe, for its slot in the table, for the row. Where the
//! keys of several commands are known beforehand, all their stripes and slots are asked for first, then all rows; the
//! waits go by together. Where an element of a key lies stands in the key's head, so elements of a key that comes several times are asked for after
//! that. Nothing is decided by it: what was foreseen wrongly has cost a few instructions.

use super::stripes::StripeId;
use super::{Keyspace, hot_name};
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Head};
use crate::encoding::row::{Namespace, Place, Position, RowKey, head_row};
use crate::hot::{Foreseen, Lookup};
use smallvec::SmallVec;

/// Keys foreseen at a time, at most.
pub const FORESEEN_MAX: usize = 32;

/// Keys whose slots are on their way, and elements of them.
#[derive(Default)]
pub struct Foresight {
    slots: SmallVec<[Foreseen; FORESEEN_MAX]>,
    /// The head row of the last key that came with an element.
    last: Option<RowKey>,
    /// Elements, each with the head row of its key. No more than there are keys.
    elements: Vec<(RowKey, RowKey)>,
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

    /// The same for a key and one of its elements, a field or a member. Only where a key comes again are its elements looked for: of keys that
    /// are all different most are small, with their elements in the head, and waiting for each head would cost more than it brings.
    pub fn add_element(
        &mut self,
        keyspace: &Keyspace,
        namespace: Namespace,
        position: Position,
        name: &[u8],
        element: &[u8],
    ) {
        let head = head_row(namespace, position, name);
        self.add_head(keyspace, position, &head);
        match &self.last {
            Some(last) if *last == head => self.elements.push((head, RowKey::from_slice(element))),
            _ => self.last = Some(head),
        }
    }

    /// Asks for the rows of all keys and elements added, and begins anew.
    pub fn fetch(&mut self, keyspace: &Keyspace) {
        for slot in self.slots.drain(..) {
            keyspace.hot.fetch(slot);
        }
        self.last = None;
        let mut last: Option<(RowKey, Option<(Family, Place)>)> = None;
        for (head, element) in self.elements.drain(..) {
            let place = match &last {
                Some((row, place)) if *row == head => *place,
                _ => {
                    let place = place_of_elements(keyspace, &head);
                    last.insert((head, place)).1
                }
            };
            let Some((family, place)) = place else { continue };
            let row = place.field_row(keyspace.seed(), &element);
            self.slots.push(keyspace.hot.foresee(hot_name(family, &row)));
        }
        for slot in self.slots.drain(..) {
            keyspace.hot.fetch(slot);
        }
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
    fn what_is_foreseen_leaves_no_trace() {
        let (bed, _) = filled();
        let before = bed.keyspace.hot().stats();
        let mut foresight = Foresight::default();
        for name in [&b"hash"[..], b"hash", b"string", b"none"] {
            let position = Position::of_key(bed.keyspace.seed(), name);
            let namespace = bed.keyspace.namespace(0).unwrap();
            foresight.add_element(&bed.keyspace, namespace, position, name, b"field");
        }
        assert_eq!((foresight.slots.len(), foresight.elements.len()), (4, 1), "the hash came twice");
        foresight.fetch(&bed.keyspace);
        assert_eq!((foresight.slots.len(), foresight.elements.len()), (0, 0), "it begins anew");
        assert_eq!(foresight.last, None);
        assert_eq!(bed.keyspace.hot().stats(), before);
    }
}
