//! One shard's rows by key: a hash table that is one array.
//!
//! Open addressing with linear probing: four slots are a cache line, so a lookup is one line here and one block of the row. A slot has
//! 24 bits of the key's hash, from which alone the table grows and shrinks, and what the policy wants to know of a row
//! (when it was used, eight bits of its own): making room walks slots in a row and touches only the blocks it drops.
//! Removing closes the gap; there are no tombstones.

use super::Kept;
use super::entry::{Entry, Probe};
use crate::base::prefetch::prefetch;

pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 16);

const CACHE_LINE_BYTES: usize = 64;
/// Slots of a table that has rows, at least.
const SLOTS_MIN: usize = 8;
/// At most: as many as the tags can tell apart.
const SLOTS_MAX: usize = 1 << TAG_BITS;
const TAG_BITS: u32 = 24;

/// A place for a row, with what the policy knows of it.
pub(super) struct Slot {
    entry: Option<Entry>,
    /// The second of the last use.
    pub(super) used_s: u32,
    /// The tag above, the policy's bits below.
    packed: u32,
}

impl Slot {
    const EMPTY: Slot = Slot { entry: None, used_s: 0, packed: 0 };

    fn new(tag: u32, entry: Entry, used_s: u32, state: u8) -> Slot {
        Slot { entry: Some(entry), used_s, packed: tag << 8 | u32::from(state) }
    }

    fn tag(&self) -> u32 {
        self.packed >> 8
    }

    /// The policy's bits.
    pub(super) fn state(&self) -> u8 {
        self.packed as u8
    }

    pub(super) fn set_state(&mut self, state: u8) {
        self.packed = self.packed & !0xff | u32::from(state);
    }

    pub(super) fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// The memory its row takes.
    pub(super) fn charge(&self) -> usize {
        self.entry.as_ref().map_or(0, Entry::charge)
    }
}

/// See the head of the file.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    len: usize,
    bytes: usize,
    scratch: Vec<u8>,
}

fn tag_of(hash: u64) -> u32 {
    (hash & (SLOTS_MAX as u64 - 1)) as u32
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The charge of all rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots, taken or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The next slot after a number, around the end; its number is to be passed on. The table must have slots.
    pub(super) fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    pub(super) fn slot(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    pub(super) fn slot_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at]
    }

    /// Where a key's row stands.
    pub(super) fn find(&self, probe: &Probe) -> Option<usize> {
        self.search(tag_of(probe.hash), |entry| entry.name() == probe.name)
    }

    /// Where a row with this tag stands; if there are several, the first.
    pub(super) fn find_tag(&self, tag: u32) -> Option<usize> {
        self.search(tag, |_| true)
    }

    /// The tag of the row in a slot.
    pub(super) fn tag(&self, at: usize) -> u32 {
        self.slots[at].tag()
    }

    fn search(&self, tag: u32, is_wanted: impl Fn(&Entry) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let slot = &self.slots[at];
            match &slot.entry {
                None => return None,
                Some(entry) if slot.tag() == tag && is_wanted(entry) => return Some(at),
                Some(_) => at = self.after(at),
            }
        }
    }

    /// Asks for the memory in which the search for a key begins.
    pub(super) fn prefetch_slot(&self, probe: &Probe) {
        if !self.slots.is_empty() {
            prefetch(&self.slots[self.home(tag_of(probe.hash))]);
        }
    }

    /// Asks for the memory of the row with a key's tag: two cache lines, which most rows fit in.
    pub(super) fn prefetch_row(&self, probe: &Probe) {
        let found = self.find_tag(tag_of(probe.hash));
        if let Some(entry) = found.and_then(|at| self.slots[at].entry.as_ref()) {
            let block = entry.address();
            prefetch(block);
            prefetch(block.wrapping_add(CACHE_LINE_BYTES));
        }
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.slots.len() - 1)
    }

    /// True when no row can be added before one is removed.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() == SLOTS_MAX && self.len >= SLOTS_MAX / 4 * 3
    }

    /// Adds a row that is not here. The table must not be full.
    pub(super) fn insert(&mut self, probe: &Probe, value: Option<&[u8]>, used_s: u32, state: u8) {
        let entry = Entry::new(probe.name, value, &mut self.scratch);
        self.trim_scratch();
        self.restore(probe.hash, Kept { entry, used_s, state });
    }

    /// Adds a row that was taken out elsewhere.
    pub(super) fn restore(&mut self, hash: u64, row: Kept) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).clamp(SLOTS_MIN, SLOTS_MAX));
        }
        self.bytes += row.entry.charge();
        self.len += 1;
        self.place(Slot::new(tag_of(hash), row.entry, row.used_s, row.state));
    }

    fn place(&mut self, slot: Slot) {
        let mut at = self.home(slot.tag());
        while self.slots[at].entry.is_some() {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    fn resize(&mut self, slots: usize) {
        let new = std::iter::repeat_with(|| Slot::EMPTY).take(slots).collect();
        for slot in std::mem::replace(&mut self.slots, new) {
            if slot.entry.is_some() {
                self.place(slot);
            }
        }
    }

    /// Gives a row another value; the bytes it has grown by.
    pub(super) fn replace(&mut self, at: usize, value: Option<&[u8]>) -> usize {
        let Some(entry) = &mut self.slots[at].entry else { return 0 };
        if entry.overwrite(value) {
            return 0;
        }
        let before = entry.charge();
        *entry = entry.with_value(value, &mut self.scratch);
        let after = entry.charge();
        self.bytes = self.bytes - before + after;
        self.trim_scratch();
        after.saturating_sub(before)
    }

    /// Keeps the buffer of large rows no longer than they take to copy.
    fn trim_scratch(&mut self) {
        if self.scratch.capacity() > 4096 {
            self.scratch = Vec::new();
        }
    }

    /// Takes a row out. Those behind it move up as far as their hashes let them. The table gets smaller when it is nearly empty.
    pub(super) fn remove(&mut self, at: usize) -> Option<Kept> {
        let Slot { entry, used_s, packed } = std::mem::replace(&mut self.slots[at], Slot::EMPTY);
        let entry = entry?;
        self.bytes -= entry.charge();
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let (mut gap, mut next) = (at, self.after(at));
        while self.slots[next].entry.is_some() {
            let home = self.home(self.slots[next].tag());
            // It may stand in the gap if that lies between its home and where it is now.
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(gap) & mask {
                self.slots.swap(gap, next);
                gap = next;
            }
            next = self.after(next);
        }
        if self.slots.len() > SLOTS_MIN && self.len < self.slots.len() / 16 {
            self.resize(self.slots.len() / 4);
        }
        Some(Kept { entry, used_s, state: packed as u8 })
    }

    /// Takes every row out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Kept> + use<> {
        let table = std::mem::take(self);
        table.slots.into_iter().filter_map(|Slot { entry, used_s, packed }| {
            Some(Kept { entry: entry?, used_s, state: packed as u8 })
        })
    }

    /// Gives every row's state to `change`.
    pub(super) fn for_each_slot(&mut self, change: impl FnMut(&mut Slot)) {
        self.slots.iter_mut().filter(|slot| slot.entry.is_some()).for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use super::{SLOTS_MIN, Table};
    use crate::base::random::Rng;
    use crate::hot::entry::Probe;
    use std::collections::BTreeMap;

    /// Few different homes, so that rows crowd; every third hash is that of another key, too.
    fn hash(number: u64) -> u64 {
        number / 3 % 7 + (number % 3) * 256
    }

    fn key(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    #[test]
    fn rows_are_found_whatever_was_put_and_removed_around_them() {
        let mut rng = Rng::new(7);
        let mut table = Table::default();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for step in 0..20_000 {
            let number = rng.below(if step % 4000 < 2000 { 300 } else { 20 });
            let bytes = key(number);
            let probe = Probe { hash: hash(number), name: (&bytes).into() };
            match (table.find(&probe), rng.below(2)) {
                (Some(at), 0) => {
                    table.remove(at);
                    model.remove(&number);
                }
                (found, _) => {
                    let value = vec![number as u8; rng.below(40) as usize];
                    match found {
                        Some(at) => _ = table.replace(at, Some(&value)),
                        None => table.insert(&probe, Some(&value), 0, 0),
                    }
                    model.insert(number, value);
                }
            }
            assert_eq!(table.len(), model.len());
            let wanted = rng.below(300);
            let bytes = key(wanted);
            let found = table.find(&Probe { hash: hash(wanted), name: (&bytes).into() });
            let entry = found.and_then(|at| table.slot(at).entry());
            assert_eq!(entry.map(|entry| entry.name().row), model.get(&wanted).map(|_| &bytes[..]));
        }
        let sum: usize = model
            .values()
            .map(|value| super::super::entry::charge((&key(0)).into(), Some(value.len())))
            .sum();
        assert_eq!(table.bytes(), sum);
        for number in 0..300 {
            let bytes = key(number);
            if let Some(at) = table.find(&Probe { hash: hash(number), name: (&bytes).into() }) {
                table.remove(at);
            }
        }
        assert_eq!((table.len(), table.bytes()), (0, 0));
        assert!(table.slots() <= 2 * SLOTS_MIN, "{} slots for nothing", table.slots());
    }

    #[test]
    fn state_and_time_go_with_a_row() {
        let mut table = Table::default();
        for number in 0..100u64 {
            let bytes = key(number);
            table.insert(
                &Probe { hash: number << 3, name: (&bytes).into() },
                None,
                number as u32,
                number as u8,
            );
        }
        for number in 0..100u64 {
            let bytes = key(number);
            let probe = Probe { hash: number << 3, name: (&bytes).into() };
            let at = table.find(&probe).unwrap();
            assert_eq!((table.slot(at).used_s, table.slot(at).state()), (number as u32, number as u8));
            let gone = table.remove(at).unwrap();
            assert_eq!((gone.used_s, gone.state), (number as u32, number as u8));
        }
    }
}
