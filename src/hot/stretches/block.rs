//! A block: some rows that follow one another in a collection, in order, in one piece of memory.
//!
//! It says of the stretch from `from` (included) to `to` (excluded; none: to the collection's end) exactly which rows there are. Keys
//! are what follows the place in a row key.
//!
//! ```text
//! bytes = | key len 2 | value len 2 | key | value | ...
//! ```

use smallvec::SmallVec;
use std::cmp::Ordering;

/// What follows the place in a row key: a row's own part, or a bound.
pub type Suffix = SmallVec<[u8; 24]>;

/// Longest row (key and value) that is kept.
pub const ROW_BYTES_MAX: usize = 4096;
/// A block that is being filled is complete with so many rows or bytes.
const ROWS_FULL: usize = 64;
const BYTES_FULL: usize = 4096;
/// A block that has grown past these is parted.
const ROWS_MAX: usize = 128;
const BYTES_MAX: usize = 12 << 10;
/// A block with fewer rows is joined with a neighbour that has room.
const ROWS_MIN: usize = 8;
const HEAD_LEN: usize = 4;

/// See the head of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    from: Suffix,
    to: Option<Suffix>,
    rows: usize,
    bytes: Vec<u8>,
}

/// The bound right behind a row.
pub fn behind(key: &[u8]) -> Suffix {
    let mut bound = Suffix::from_slice(key);
    bound.push(0);
    bound
}

/// Compares two upper bounds.
pub fn order_of_ends(a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

impl Block {
    /// An empty stretch of no length.
    pub fn starting_at(from: Suffix) -> Block {
        let to = Some(from.clone());
        Block { from, to, rows: 0, bytes: Vec::new() }
    }

    /// Where the stretch begins.
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// Where it ends.
    pub fn to(&self) -> Option<&[u8]> {
        self.to.as_deref()
    }

    /// Sets where it ends: no row is left out between its last one and there.
    pub fn set_to(&mut self, to: Option<Suffix>) {
        self.to = to;
    }

    /// Sets where it begins: no row is left out between there and its first one.
    pub fn set_from(&mut self, from: Suffix) {
        self.from = from;
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The memory it takes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Block>() + 2 * size_of::<usize>() + self.bytes.capacity()
    }

    /// True if what is being filled should go on in another block.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS_FULL || self.bytes.len() >= BYTES_FULL
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.rows > ROWS_MAX || (self.bytes.len() > BYTES_MAX && self.rows > 1)
    }

    pub(super) fn is_small(&self) -> bool {
        self.rows < ROWS_MIN
    }

    /// True if the two together are no more than a full block.
    pub(super) fn has_room_for(&self, other: &Block) -> bool {
        self.rows + other.rows <= ROWS_FULL && self.bytes.len() + other.bytes.len() <= BYTES_FULL
    }

    /// Adds a row behind the last one. The row is at most `ROW_BYTES_MAX` long.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows += 1;
    }

    /// The rows in order: key, value.
    pub fn iter(&self) -> Rows<'_> {
        Rows { rest: &self.bytes }
    }

    /// The rows, the last one first.
    pub fn iter_down(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let rows: SmallVec<[_; ROWS_MAX]> = self.iter().collect();
        rows.into_iter().rev()
    }

    /// A block with the same rows in the opposite order. For who reads from the end and adds as they come.
    pub fn turned(&self, from: Suffix, to: Option<Suffix>) -> Block {
        let mut turned = Block { from, to, rows: 0, bytes: Vec::with_capacity(self.bytes.len()) };
        self.iter_down().for_each(|(key, value)| turned.push(key, value));
        turned
    }

    /// Gives memory back that nothing needs.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Where a row begins, or would; and how many bytes it has there.
    fn find(&self, key: &[u8]) -> (usize, usize) {
        let mut at = 0;
        for (other, value) in self.iter() {
            let len = HEAD_LEN + other.len() + value.len();
            match other.cmp(key) {
                Ordering::Less => at += len,
                Ordering::Equal => return (at, len),
                Ordering::Greater => break,
            }
        }
        (at, 0)
    }

    /// Sets a row of the stretch. The row is at most `ROW_BYTES_MAX` long.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        let (at, old_len) = self.find(key);
        self.rows += usize::from(old_len == 0);
        let (value_at, end) = (at + HEAD_LEN + key.len(), at + HEAD_LEN + key.len() + value.len());
        let rest = at + old_len..self.bytes.len();
        let len = end + rest.len();
        self.bytes.resize(len.max(self.bytes.len()), 0);
        self.bytes.copy_within(rest, end);
        self.bytes.truncate(len);
        self.bytes[at..at + 2].copy_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes[at + 2..at + HEAD_LEN].copy_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes[at + HEAD_LEN..value_at].copy_from_slice(key);
        self.bytes[value_at..end].copy_from_slice(value);
    }

    /// Removes a row of the stretch, if it is there.
    pub(super) fn delete(&mut self, key: &[u8]) {
        let (at, len) = self.find(key);
        self.rows -= usize::from(len > 0);
        self.bytes.drain(at..at + len);
    }

    /// Cuts off the upper half.
    pub(super) fn part(&mut self) -> Option<Block> {
        let middle = self.iter().nth(self.rows / 2)?.0;
        let from = Suffix::from_slice(middle);
        let (at, _) = self.find(&from);
        let upper = Block {
            from: from.clone(),
            to: self.to.replace(from),
            rows: self.rows - self.rows / 2,
            bytes: self.bytes.split_off(at),
        };
        self.rows /= 2;
        self.shrink();
        Some(upper)
    }

    /// Takes in the block that begins where this one ends.
    pub(super) fn join(&mut self, next: &Block) {
        self.bytes.extend_from_slice(&next.bytes);
        self.rows += next.rows;
        self.to.clone_from(&next.to);
    }
}

/// The rows of a block.
pub struct Rows<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Rows<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<(&'b [u8], &'b [u8])> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD_LEN>()?;
        let (key_len, value_len) =
            (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let (key, rest) = rest.split_at_checked(usize::from(key_len))?;
        let (value, rest) = rest.split_at_checked(usize::from(value_len))?;
        self.rest = rest;
        Some((key, value))
    }
}
