//! Stretches: rows of a collection that follow one another, kept in their order. A scan of what was scanned before reads them here and
//! opens no iterator.
//!
//! Of each collection (its name: the kind of its rows, then the bytes they all begin with) some *blocks* are kept (see `block`): each knows of
//! one stretch exactly which rows lie in it. Blocks do not overlap; those that touch are one longer stretch. A stretch may reach to the
//! collection's end, and then what is pushed there comes in, too.
//!
//! Blocks come in by reads that no commit can race (they hold the lock of the collection's key), and are changed by commits. So what they
//! say is what is committed; what they do not cover, they say nothing about. A collection is taken in when it is scanned for the second
//! time within a while: what is read once is not worth the room.
//!
//! All together take a part of the tier's budget; beyond, the collection unused for the longest goes. A collection that has grown, by what is
//! written or by reads here and there, loses the blocks that nobody has read since it was last looked through.
//!
//! Lock rule: a mutex for each shard, held for a probe or a change; never two at a time, and none of the tier's while one is held.

mod block;
#[cfg(test)]
mod tests;

pub use block::{Block, ROW_BYTES_MAX, Suffix, behind, order_of_ends};

use super::named::Name;
use ahash::RandomState;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

const SHARDS: usize = 16;
/// All stretches together take one part in this many of the tier's budget, at most.
const BUDGET_PART: usize = 4;
/// What a collection takes beside its blocks.
const ENTRY_BYTES: usize = 200;
/// Names of collections scanned lately; each takes the place of another.
const SCANNED: usize = 4096;
/// Blocks handed out at a time.
const BLOCKS_AT_ONCE: usize = 8;
/// A collection with so many blocks is looked through for those that nobody reads.
const SWEPT_BLOCKS_MIN: usize = 32;
/// Of one collection no more is kept than this, and than its part of all: so looking through it, and letting go of it, takes no long time.
const COLLECTION_BYTES_MAX: usize = 16 << 20;
const COLLECTION_PART: usize = 4;

struct Kept {
    block: Arc<Block>,
    /// Somebody has read it since it was last looked at.
    read: bool,
}

struct Collection {
    blocks: Vec<Kept>,
    bytes: usize,
    swept_at: usize,
}

type Shard = LruCache<Name, Collection, RandomState>;

/// What is known of the rows from a place on, in one direction.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Blocks that touch one another, in the direction of the question; the first one has the place in it.
    Blocks(SmallVec<[Arc<Block>; BLOCKS_AT_ONCE]>),
    /// Nothing.
    Gap(Gap),
}

/// A stretch of which nothing is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: Suffix,
    /// Where it ends; none: at the collection's end.
    pub to: Option<Suffix>,
    /// What is read there should be put in.
    pub wanted: bool,
}

/// See the head of the file.
pub struct Stretches {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Collections by the first byte of their names, so that most commits need not look.
    kinds: [AtomicU32; 256],
    scanned: Box<[AtomicU32]>,
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl Stretches {
    pub(super) fn new(budget_bytes: usize) -> Stretches {
        Stretches {
            shards: std::array::from_fn(|_| Mutex::new(LruCache::unbounded_with_hasher(RandomState::new()))),
            hasher: RandomState::new(),
            kinds: std::array::from_fn(|_| AtomicU32::new(0)),
            scanned: (0..SCANNED).map(|_| AtomicU32::new(0)).collect(),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(budget_bytes / BUDGET_PART),
        }
    }

    /// True if something may be kept of a collection whose name begins with `kind`.
    pub fn has(&self, kind: u8) -> bool {
        self.kinds[usize::from(kind)].load(Acquire) > 0
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn shard(&self, name: &Name) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(name) as usize;
        self.shards[hash % SHARDS].lock()
    }

    /// What is known from `at` (included) upwards. Counts as a use.
    pub fn look_up(&self, name: &Name, at: &[u8]) -> Known {
        let mut shard = self.shard(name);
        let Some(collection) = shard.get_mut(name) else {
            return self.unknown(name);
        };
        let blocks = &mut collection.blocks;
        let next = blocks.partition_point(|kept| kept.block.from() <= at);
        let before = next.checked_sub(1);
        if let Some(first) = before
            && order_of_ends(blocks[first].block.to(), Some(at)) == Ordering::Greater
        {
            let mut found = SmallVec::new();
            for kept in &mut blocks[first..] {
                let touches =
                    found.last().is_none_or(|last: &Arc<Block>| last.to() == Some(kept.block.from()));
                if !touches || found.len() == BLOCKS_AT_ONCE {
                    break;
                }
                kept.read = true;
                found.push(Arc::clone(&kept.block));
            }
            return Known::Blocks(found);
        }
        Known::Gap(gap(blocks, next, true))
    }

    /// What is known from `at` (excluded; none: the collection's end) downwards. Counts as a use.
    pub fn look_down(&self, name: &Name, at: Option<&[u8]>) -> Known {
        let mut shard = self.shard(name);
        let Some(collection) = shard.get_mut(name) else {
            return self.unknown(name);
        };
        let blocks = &mut collection.blocks;
        let next = blocks.partition_point(|kept| at.is_none_or(|at| kept.block.from() < at));
        let before = next.checked_sub(1);
        if let Some(first) = before
            && order_of_ends(blocks[first].block.to(), at) != Ordering::Less
        {
            let mut found = SmallVec::new();
            for kept in blocks[..next].iter_mut().rev() {
                let touches =
                    found.last().is_none_or(|last: &Arc<Block>| kept.block.to() == Some(last.from()));
                if !touches || found.len() == BLOCKS_AT_ONCE {
                    break;
                }
                kept.read = true;
                found.push(Arc::clone(&kept.block));
            }
            return Known::Blocks(found);
        }
        Known::Gap(gap(blocks, next, true))
    }

    /// Nothing is kept of this collection. Next time, it is wanted.
    fn unknown(&self, name: &Name) -> Known {
        let hash = self.hasher.hash_one(name);
        let (slot, mark) = (hash as usize / SHARDS % SCANNED, (hash >> 32) as u32 | 1);
        let wanted = self.scanned[slot].swap(mark, Relaxed) == mark;
        Known::Gap(Gap { from: Suffix::new(), to: None, wanted })
    }

    /// Keeps blocks read from a gap; the caller holds the lock of the collection's key. What overlaps something kept is left out.
    pub(super) fn fill(&self, name: &Name, blocks: impl IntoIterator<Item = Block>) {
        let mut shard = self.shard(name);
        let collection = shard.get_or_insert_mut(name.clone(), || {
            self.kinds[kind_of(name)].fetch_add(1, Release);
            self.bytes.fetch_add(ENTRY_BYTES, Relaxed);
            Collection { blocks: Vec::new(), bytes: ENTRY_BYTES, swept_at: SWEPT_BLOCKS_MIN }
        });
        let before = collection.bytes;
        for mut block in blocks {
            let kept = &mut collection.blocks;
            let at = kept.partition_point(|kept| kept.block.from() < block.from());
            let overlaps = kept
                .get(at)
                .is_some_and(|next| order_of_ends(block.to(), Some(next.block.from())) == Ordering::Greater)
                || at.checked_sub(1).is_some_and(|before| {
                    order_of_ends(kept[before].block.to(), Some(block.from())) == Ordering::Greater
                });
            if overlaps || block.to() == Some(block.from()) {
                continue;
            }
            block.shrink();
            collection.bytes += block.memory_bytes();
            kept.insert(at, Kept { block: Arc::new(block), read: true });
        }
        collection.swept_at = collection.swept_at.max(2 * collection.blocks.len());
        self.settle(&mut shard, name, before);
    }

    /// A commit has set a row, or removed it; the caller holds the lock of the collection's key alone. False if nothing is kept of it.
    pub(super) fn change(&self, name: &Name, key: &[u8], value: Option<&[u8]>) -> bool {
        let mut shard = self.shard(name);
        let Some(collection) = shard.peek_mut(name) else { return false };
        let next = collection.blocks.partition_point(|kept| kept.block.from() <= key);
        let Some(at) = next.checked_sub(1) else { return true };
        if order_of_ends(collection.blocks[at].block.to(), Some(key)) != Ordering::Greater {
            return true;
        }
        let before = collection.bytes;
        collection.change(at, key, value);
        self.settle(&mut shard, name, before);
        true
    }

    /// Takes note of a collection's size, which was `before`, and makes room if it has grown.
    fn settle(&self, shard: &mut Shard, name: &Name, before: usize) {
        let Some(collection) = shard.peek_mut(name) else { return };
        if collection.bytes > before {
            let bytes_max = COLLECTION_BYTES_MAX.min(self.bytes_max.load(Relaxed) / COLLECTION_PART);
            if collection.bytes > bytes_max {
                collection.drop_unread();
                if collection.bytes > bytes_max - bytes_max / 4 {
                    collection.drop_all();
                }
            }
        }
        let after = collection.bytes;
        self.bytes.fetch_add(after, Relaxed);
        self.bytes.fetch_sub(before, Relaxed);
        if after > before {
            self.make_room(shard);
        }
    }

    /// Forgets a collection.
    pub fn remove(&self, name: &Name) {
        let taken = self.shard(name).pop(name);
        if let Some(collection) = taken {
            self.forget(name, &collection);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            while self.drop_oldest(&mut shard) {}
        }
    }

    pub(super) fn set_budget(&self, budget_bytes: usize) {
        self.bytes_max.store(budget_bytes / BUDGET_PART, Relaxed);
        for shard in &self.shards {
            self.make_room(&mut shard.lock());
        }
    }

    fn make_room(&self, shard: &mut Shard) {
        while self.bytes() > self.bytes_max.load(Relaxed) && self.drop_oldest(shard) {}
    }

    fn drop_oldest(&self, shard: &mut Shard) -> bool {
        let oldest = shard.pop_lru();
        if let Some((name, collection)) = &oldest {
            self.forget(name, collection);
        }
        oldest.is_some()
    }

    fn forget(&self, name: &Name, collection: &Collection) {
        self.bytes.fetch_sub(collection.bytes, Relaxed);
        self.kinds[kind_of(name)].fetch_sub(1, Release);
    }
}

impl Collection {
    fn change(&mut self, at: usize, key: &[u8], value: Option<&[u8]>) {
        self.bytes -= self.blocks[at].block.memory_bytes();
        let block = Arc::make_mut(&mut self.blocks[at].block);
        match value {
            Some(value) if key.len() + value.len() > ROW_BYTES_MAX => {
                self.blocks.remove(at);
                return;
            }
            Some(value) => block.put(key, value),
            None => block.delete(key),
        }
        let upper = if block.is_too_large() { block.part() } else { None };
        let is_small = value.is_none() && block.is_small();
        self.bytes += block.memory_bytes();
        if let Some(upper) = upper {
            self.bytes += upper.memory_bytes();
            let read = self.blocks[at].read;
            self.blocks.insert(at + 1, Kept { block: Arc::new(upper), read });
            self.sweep();
        } else if is_small {
            // With the neighbour before it, else with the one behind.
            let _ = at.checked_sub(1).is_some_and(|before| self.join(before)) || self.join(at);
        }
    }

    /// Makes one block of two that touch, if they are small enough. True if it has.
    fn join(&mut self, at: usize) -> bool {
        let (Some(lower), Some(upper)) = (self.blocks.get(at), self.blocks.get(at + 1)) else { return false };
        if lower.block.to() != Some(upper.block.from()) || !lower.block.has_room_for(&upper.block) {
            return false;
        }
        let upper = self.blocks.remove(at + 1);
        let lower = &mut self.blocks[at];
        self.bytes -= lower.block.memory_bytes() + upper.block.memory_bytes();
        Arc::make_mut(&mut lower.block).join(&upper.block);
        lower.read |= upper.read;
        self.bytes += lower.block.memory_bytes();
        true
    }

    /// Once there are many blocks: those that nobody has read since the last time go.
    fn sweep(&mut self) {
        if self.blocks.len() >= self.swept_at {
            self.drop_unread();
        }
    }

    fn drop_unread(&mut self) {
        self.blocks.retain_mut(|kept| std::mem::take(&mut kept.read));
        self.bytes = ENTRY_BYTES + self.blocks.iter().map(|kept| kept.block.memory_bytes()).sum::<usize>();
        self.swept_at = SWEPT_BLOCKS_MIN.max(2 * self.blocks.len());
    }

    fn drop_all(&mut self) {
        *self = Collection { blocks: Vec::new(), bytes: ENTRY_BYTES, swept_at: SWEPT_BLOCKS_MIN };
    }
}

/// The gap before the block number `next`.
fn gap(blocks: &[Kept], next: usize, wanted: bool) -> Gap {
    let before = next.checked_sub(1).and_then(|before| blocks[before].block.to());
    let to = blocks.get(next).map(|kept| Suffix::from_slice(kept.block.from()));
    Gap { from: before.map(Suffix::from_slice).unwrap_or_default(), to, wanted }
}

fn kind_of(name: &Name) -> usize {
    name.first().map_or(0, |&kind| usize::from(kind))
}
