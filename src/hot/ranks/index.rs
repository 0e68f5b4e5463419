//! A sparse counted index over the sorted rows of one collection: which row stands at a rank, how many stand before one.
//!
//! The rows are cut into *blocks* of about [`BLOCK_ROWS`]. A block knows where it begins and how many rows it has, nothing else; it
//! reaches to the beginning of the next. Where it begins is a *separator*: the shortest bytes above the row before it and not above its
//! first, so most take 8 bytes or less, and a deleted row never leaves a block without its border. Blocks stand in *chunks* of up to
//! [`CHUNK_BLOCKS_MAX`], with the sum of each chunk beside it. A question is a binary search (by row) or a walk over sums (by rank), which
//! ends at a block; what lies within the block only the reader of its rows can tell. A million rows take about 700 KB.
//!
//! An index grows from the left: rows at or above its *frontier* are not counted yet. Whoever reads rows in order moves the frontier
//! on (`extend`); once it is gone the index is complete. Changes above the frontier are ignored, for they will be read.
//!
//! A change the caller is not sure of makes its block *unsure*; an unsure or an overgrown block is to be read anew as a whole (`refine`),
//! which also splits it. A new row beyond either end begins a block of its own when the last is full, so appending never asks for that.

use smallvec::SmallVec;

/// A row's key without what all rows of its collection begin with, or a separator.
pub type Suffix = SmallVec<[u8; 16]>;

/// Rows in a block as it is made.
pub const BLOCK_ROWS: u32 = 64;
/// A block with more rows is split by the next who asks for it.
const BLOCK_ROWS_MAX: u32 = 2 * BLOCK_ROWS;
/// A block that has grown beyond this while nobody asked: the index is better made anew.
const BLOCK_ROWS_LOST: u32 = 4096;
/// Neighbours with no more rows together become one block.
const MERGED_ROWS_MAX: u32 = BLOCK_ROWS / 2;
const CHUNK_BLOCKS_MAX: usize = if cfg!(test) { 8 } else { 256 };
/// Unsure blocks an index may have.
const UNSURE_MAX: usize = 16;

#[derive(Debug)]
struct Block {
    from: Suffix,
    rows: u32,
    unsure: bool,
}

/// See the head of the file.
#[derive(Debug)]
pub struct RankIndex {
    /// Never empty, nor is any chunk; the very first block begins with the empty separator.
    chunks: Vec<Vec<Block>>,
    /// The rows of each chunk.
    sums: Vec<u64>,
    total: u64,
    frontier: Option<Suffix>,
    /// No counted row is below `low` or above `high`.
    low: Option<Suffix>,
    high: Option<Suffix>,
    /// Where blocks began when they became unsure.
    unsure: Vec<Suffix>,
    /// Counts changes.
    version: u64,
    /// Heap bytes of separators.
    separator_bytes: usize,
}

/// What a commit did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It was there, and is no more.
    Removed,
    /// Only a look at the row's neighbourhood would tell.
    Unsure,
}

/// The index cannot be kept up: forget it.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

/// A block, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Rows before it.
    pub before: u64,
    /// Rows in it.
    pub rows: u64,
    /// Its rows are at or above this.
    pub from: Suffix,
    /// And below this, if anything follows.
    pub to: Option<Suffix>,
    /// It is overgrown, or its count is not sure: `refine` it and ask again.
    pub stale: bool,
    version: u64,
}

/// Rows read in order, cut into blocks.
#[derive(Debug)]
pub struct Pieces {
    blocks: Vec<Block>,
    from: Suffix,
    first: Option<Suffix>,
    last: Vec<u8>,
    rows: u64,
}

/// The shortest bytes above `before` and not above `row`; `before` is below `row`.
fn separator(before: &[u8], row: &[u8]) -> Suffix {
    let common = before.iter().zip(row).take_while(|(a, b)| a == b).count();
    Suffix::from_slice(row.get(..=common).unwrap_or(row))
}

fn heap_bytes(suffix: &Suffix) -> usize {
    if suffix.spilled() { suffix.capacity() } else { 0 }
}

impl Pieces {
    /// No row yet; the first block will begin with this separator.
    pub fn new(from: &[u8]) -> Pieces {
        let from = Suffix::from_slice(from);
        Pieces { blocks: Vec::new(), from, first: None, last: Vec::new(), rows: 0 }
    }

    /// Takes the next row in order.
    pub fn add(&mut self, row: &[u8]) {
        match self.blocks.last_mut() {
            Some(block) if block.rows < BLOCK_ROWS => block.rows += 1,
            Some(_) => {
                let from = separator(&self.last, row);
                self.blocks.push(Block { from, rows: 1, unsure: false });
            }
            None => {
                self.first = Some(Suffix::from_slice(row));
                self.blocks.push(Block { from: self.from.clone(), rows: 1, unsure: false });
            }
        }
        self.last.clear();
        self.last.extend_from_slice(row);
        self.rows += 1;
    }

    /// Rows taken so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// A frontier between the last row taken and `next`, the one that follows it.
    pub fn frontier_before(&self, next: &[u8]) -> Suffix {
        if self.rows == 0 { self.from.clone() } else { separator(&self.last, next) }
    }

    /// A frontier right behind the last row taken.
    pub fn frontier_here(&self) -> Suffix {
        if self.rows == 0 {
            return self.from.clone();
        }
        let mut frontier = Suffix::from_slice(&self.last);
        frontier.push(0);
        frontier
    }
}

impl Default for RankIndex {
    /// Nothing counted yet.
    fn default() -> RankIndex {
        RankIndex {
            chunks: vec![vec![Block { from: Suffix::new(), rows: 0, unsure: false }]],
            sums: vec![0],
            total: 0,
            frontier: Some(Suffix::new()),
            low: None,
            high: None,
            unsure: Vec::new(),
            version: 0,
            separator_bytes: 0,
        }
    }
}

impl RankIndex {
    /// Rows counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// From where on rows are not counted yet; `None` when the index is complete.
    pub fn frontier(&self) -> Option<&Suffix> {
        self.frontier.as_ref()
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        let blocks: usize = self.chunks.iter().map(Vec::capacity).sum();
        size_of::<RankIndex>()
            + blocks * size_of::<Block>()
            + self.chunks.capacity() * size_of::<Vec<Block>>()
            + self.sums.capacity() * size_of::<u64>()
            + self.separator_bytes
    }

    /// Takes in the rows read from the frontier on; the next frontier is `next`. False (and nothing happens) when somebody else has
    /// moved the frontier meanwhile.
    pub fn extend(&mut self, pieces: Pieces, next: Option<Suffix>) -> bool {
        if self.frontier.as_ref() != Some(&pieces.from) {
            return false;
        }
        self.version += 1;
        self.widen(&pieces);
        for block in pieces.blocks {
            let (chunk, at) = self.end();
            let last = &mut self.chunks[chunk][at];
            if last.rows + block.rows <= BLOCK_ROWS {
                last.rows += block.rows;
                self.sums[chunk] += u64::from(block.rows);
                self.total += u64::from(block.rows);
            } else {
                self.push_last(block);
            }
        }
        self.frontier = next;
        true
    }

    /// The block a row lies in, or would.
    pub fn block_of(&self, row: &[u8]) -> Found {
        let (chunk, at) = self.locate(row);
        let before = self.before_chunk(chunk) + rows_of(&self.chunks[chunk][..at]);
        self.found(chunk, at, before)
    }

    /// The block of the row with so many counted rows before it, if there are more.
    pub fn block_at(&self, rank: u64) -> Option<Found> {
        let mut before = 0;
        let chunk = self.sums.iter().position(|&rows| {
            let here = rank < before + rows;
            before += if here { 0 } else { rows };
            here
        })?;
        let at = self.chunks[chunk].iter().position(|block| {
            let rows = u64::from(block.rows);
            let here = rank < before + rows;
            before += if here { 0 } else { rows };
            here
        })?;
        Some(self.found(chunk, at, before))
    }

    /// The blocks that are unsure: while there are any, no rank is to be relied on.
    pub fn unsure(&self) -> Vec<Found> {
        let mut blocks: Vec<Found> = self.unsure.iter().map(|from| self.block_of(from)).collect();
        blocks.dedup();
        blocks
    }

    /// Puts the rows that a block has in its place. False (and nothing happens) when the index has changed since it was asked.
    pub fn refine(&mut self, block: &Found, pieces: Pieces) -> bool {
        if self.version != block.version {
            return false;
        }
        self.version += 1;
        self.widen(&pieces);
        let (chunk, at) = self.locate(&block.from);
        let rows = pieces.rows;
        let mut pieces = pieces.blocks.into_iter();
        let old = &mut self.chunks[chunk][at];
        let old_rows = u64::from(old.rows);
        old.unsure = false;
        old.rows = pieces.next().map_or(0, |first| first.rows);
        self.sums[chunk] = self.sums[chunk] - old_rows + rows;
        self.total = self.total - old_rows + rows;
        let added: Vec<Block> = pieces.collect();
        self.separator_bytes += added.iter().map(|block| heap_bytes(&block.from)).sum::<usize>();
        self.chunks[chunk].splice(at + 1..at + 1, added);
        self.split_chunk(chunk);
        let mut unsure = std::mem::take(&mut self.unsure);
        unsure.retain(|from| {
            let (chunk, at) = self.locate(from);
            self.chunks[chunk][at].unsure
        });
        self.unsure = unsure;
        true
    }

    /// True when no row this far out has ever been counted: it is new.
    pub fn is_outside(&self, row: &[u8]) -> bool {
        self.low.as_ref().is_none_or(|low| row < &low[..])
            || self.high.as_ref().is_none_or(|high| row > &high[..])
    }

    /// True when rows here are counted.
    pub fn covers(&self, row: &[u8]) -> bool {
        self.frontier.as_ref().is_none_or(|frontier| row < &frontier[..])
    }

    /// A commit has changed a row.
    pub fn change(&mut self, row: &[u8], change: Change) -> Result<(), Lost> {
        if !self.covers(row) {
            return Ok(());
        }
        self.version += 1;
        match change {
            Change::Added => self.add(row),
            Change::Removed => self.remove(row),
            Change::Unsure => self.doubt(row),
        }
    }

    fn add(&mut self, row: &[u8]) -> Result<(), Lost> {
        let suffix = Suffix::from_slice(row);
        if self.high.as_ref().is_none_or(|high| suffix > *high) {
            let old = self.high.replace(suffix.clone());
            self.low.get_or_insert(suffix);
            let (chunk, at) = self.end();
            if let (Some(old), BLOCK_ROWS..) = (old, self.chunks[chunk][at].rows) {
                self.push_last(Block { from: separator(&old, row), rows: 1, unsure: false });
                return Ok(());
            }
        } else if self.low.as_ref().is_none_or(|low| suffix < *low) {
            let old = self.low.replace(suffix);
            if let (Some(old), BLOCK_ROWS..) = (old, self.chunks[0][0].rows) {
                self.push_first(separator(row, &old));
                return Ok(());
            }
        }
        let (chunk, at) = self.locate(row);
        self.sums[chunk] += 1;
        self.total += 1;
        let block = &mut self.chunks[chunk][at];
        block.rows += 1;
        if block.rows > BLOCK_ROWS_LOST { Err(Lost) } else { Ok(()) }
    }

    fn remove(&mut self, row: &[u8]) -> Result<(), Lost> {
        let (chunk, at) = self.locate(row);
        let block = &mut self.chunks[chunk][at];
        if block.rows == 0 {
            // More was removed than was there, or an unsure block has lost what nobody had counted.
            return if block.unsure { Ok(()) } else { Err(Lost) };
        }
        block.rows -= 1;
        let small = block.rows <= MERGED_ROWS_MAX && !block.unsure;
        self.sums[chunk] -= 1;
        self.total -= 1;
        if small {
            self.merge(chunk, at);
        }
        Ok(())
    }

    fn doubt(&mut self, row: &[u8]) -> Result<(), Lost> {
        let suffix = Suffix::from_slice(row);
        if self.low.as_ref().is_none_or(|low| suffix < *low) {
            self.low = Some(suffix.clone());
        }
        if self.high.as_ref().is_none_or(|high| suffix > *high) {
            self.high = Some(suffix);
        }
        let (chunk, at) = self.locate(row);
        let block = &mut self.chunks[chunk][at];
        if !block.unsure {
            block.unsure = true;
            self.unsure.push(block.from.clone());
        }
        if self.unsure.len() > UNSURE_MAX { Err(Lost) } else { Ok(()) }
    }

    /// A block has become small: it goes into a neighbour that has room, or, empty, away. Unsure neighbours are left alone.
    fn merge(&mut self, chunk: usize, at: usize) {
        let blocks = &self.chunks[chunk];
        let sure_rows = |at: usize| blocks.get(at).filter(|block| !block.unsure).map(|block| block.rows);
        let rows = blocks[at].rows;
        let fits = |neighbour: Option<u32>| {
            neighbour.is_some_and(|others| rows == 0 || others + rows <= MERGED_ROWS_MAX)
        };
        if at > 0 && fits(sure_rows(at - 1)) {
            self.join(chunk, at - 1);
        } else if fits(sure_rows(at + 1)) {
            self.join(chunk, at);
        } else if rows == 0 && blocks.len() == 1 && self.chunks.len() > 1 {
            // Its stretch falls to the block before it, or, if it was the very first, to the one behind.
            self.separator_bytes -= heap_bytes(&self.chunks[chunk][at].from);
            self.chunks.remove(chunk);
            self.sums.remove(chunk);
            if chunk == 0 {
                self.begin_with_nothing();
            }
        }
    }

    /// The block behind `at` becomes part of it.
    fn join(&mut self, chunk: usize, at: usize) {
        let gone = self.chunks[chunk].remove(at + 1);
        self.separator_bytes -= heap_bytes(&gone.from);
        self.chunks[chunk][at].rows += gone.rows;
    }

    fn begin_with_nothing(&mut self) {
        let old = std::mem::take(&mut self.chunks[0][0].from);
        self.separator_bytes -= heap_bytes(&old);
    }

    /// A block behind all others.
    fn push_last(&mut self, block: Block) {
        let (rows, bytes) = (u64::from(block.rows), heap_bytes(&block.from));
        self.total += rows;
        self.separator_bytes += bytes;
        let (chunk, _) = self.end();
        if self.chunks[chunk].len() < CHUNK_BLOCKS_MAX {
            self.chunks[chunk].push(block);
            self.sums[chunk] += rows;
        } else {
            self.chunks.push(vec![block]);
            self.sums.push(rows);
        }
    }

    /// A block of one row before all others; the first so far begins at `old_from` now.
    fn push_first(&mut self, old_from: Suffix) {
        self.total += 1;
        self.separator_bytes += heap_bytes(&old_from);
        for unsure in self.unsure.iter_mut().filter(|unsure| unsure.is_empty()) {
            unsure.clone_from(&old_from);
        }
        self.chunks[0][0].from = old_from;
        let block = Block { from: Suffix::new(), rows: 1, unsure: false };
        if self.chunks[0].len() < CHUNK_BLOCKS_MAX {
            self.chunks[0].insert(0, block);
            self.sums[0] += 1;
        } else {
            self.chunks.insert(0, vec![block]);
            self.sums.insert(0, 1);
        }
    }

    /// Cuts a chunk with too many blocks.
    fn split_chunk(&mut self, chunk: usize) {
        while self.chunks[chunk].len() > CHUNK_BLOCKS_MAX {
            let half = self.chunks[chunk].len() - CHUNK_BLOCKS_MAX / 2;
            let upper = self.chunks[chunk].split_off(half);
            let rows = rows_of(&upper);
            self.sums[chunk] -= rows;
            self.sums.insert(chunk + 1, rows);
            self.chunks.insert(chunk + 1, upper);
        }
    }

    fn widen(&mut self, pieces: &Pieces) {
        let Some(first) = &pieces.first else { return };
        if self.low.as_ref().is_none_or(|low| first < low) {
            self.low = Some(first.clone());
        }
        if self.high.as_ref().is_none_or(|high| pieces.last[..] > high[..]) {
            self.high = Some(Suffix::from_slice(&pieces.last));
        }
    }

    fn end(&self) -> (usize, usize) {
        let chunk = self.chunks.len() - 1;
        (chunk, self.chunks[chunk].len() - 1)
    }

    fn locate(&self, row: &[u8]) -> (usize, usize) {
        let chunk = self.chunks.partition_point(|chunk| chunk[0].from[..] <= *row).saturating_sub(1);
        let at = self.chunks[chunk].partition_point(|block| block.from[..] <= *row).saturating_sub(1);
        (chunk, at)
    }

    fn before_chunk(&self, chunk: usize) -> u64 {
        self.sums[..chunk].iter().sum()
    }

    fn found(&self, chunk: usize, at: usize, before: u64) -> Found {
        let block = &self.chunks[chunk][at];
        let next = self.chunks[chunk].get(at + 1).or_else(|| self.chunks.get(chunk + 1)?.first());
        Found {
            before,
            rows: u64::from(block.rows),
            from: block.from.clone(),
            to: next.map(|next| next.from.clone()),
            stale: block.unsure || block.rows > BLOCK_ROWS_MAX,
            version: self.version,
        }
    }
}

fn rows_of(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| u64::from(block.rows)).sum()
}
