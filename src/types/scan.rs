//! Going through the keys of a database, and picking one by chance. Keys lie in the order of their position (cluster slot, then 39
//! bits of a keyed hash), which serves both.
//!
//! A page is the rows from a cursor on, as many as asked for; the next cursor is the position of the first row left out. Rows of
//! one position are never parted, so no key that stays is missed, whatever comes and goes meanwhile.
//!
//! A random key: cut the positions into equal windows of about 8 keys each, draw a window, then draw a number below 24: the
//! key of that number in the window, or draw again. Every key is as likely as every other. Where keys crowd (a hash tag
//! puts them all into one slot) a window overflows, or the draws find only empty ones: then the pick is even among the crowd when
//! it is small, and otherwise one of the 16 keys that follow a random position of the crowd, which is nearly even. Work is
//! bounded in any case.
//!
//! Locks: none. A command that uses this says so by `Txn::saw_everything`.

use crate::encoding::Family;
use crate::encoding::head::{DataType, Head};
use crate::encoding::row::{
    Namespace, POSITION_END, Position, RowKey, head_at, namespace_end, split_head_row,
};
use crate::keyspace::{Direction, Outcome, Txn};
use std::ops::{ControlFlow, Range};

/// Keys expected in a window.
const WINDOW_KEYS: u64 = 8;
/// More keys in a window of 8 have a chance of one in a million.
const WINDOW_KEYS_MAX: u64 = 24;
/// Windows drawn before giving up; three suffice on average.
const DRAWS_MAX: u32 = 48;
/// Keys behind a random position that a pick in a crowd chooses from.
const CROWD_KEYS: usize = 16;
/// Rows looked at, expired ones included, before a crowd counts as large.
const CROWD_ROWS_MAX: u64 = 500;
/// Positions in one cluster slot.
const SLOT_WIDTH: u64 = 1 << 39;

/// One row met on the way.
struct Met<'r> {
    position: Position,
    name: &'r [u8],
    data_type: DataType,
    expired: bool,
}

/// Visits the rows of a namespace within a range of positions, in order.
fn walk(
    txn: &mut Txn<'_>,
    namespace: Namespace,
    positions: Range<u64>,
    mut visit: impl FnMut(Met<'_>) -> ControlFlow<()>,
) -> Outcome {
    if positions.is_empty() {
        return Ok(());
    }
    let now_ms = txn.now_ms();
    let lower = head_at(namespace, Position(positions.start));
    let upper = end_row(namespace, positions.end);
    txn.scan(Family::Keys, &lower, &upper, Direction::Up, |row, value| {
        let Some((_, position, name)) = split_head_row(row) else { return Ok(ControlFlow::Continue(())) };
        let head = Head::decode(value)?;
        let expired = head.is_expired(now_ms);
        Ok(visit(Met { position, name, data_type: head.data_type, expired }))
    })
}

fn end_row(namespace: Namespace, position: u64) -> RowKey {
    if position < POSITION_END { head_at(namespace, Position(position)) } else { namespace_end(namespace) }
}

/// Visits the name and type of every key of a database.
pub fn for_each_key(txn: &mut Txn<'_>, database: u32, mut visit: impl FnMut(&[u8], DataType)) -> Outcome {
    let size = txn.database_size(database)?;
    txn.expect_work(size)?;
    txn.saw_everything();
    let namespace = txn.database(database)?.namespace();
    walk(txn, namespace, 0..POSITION_END, |met| {
        if !met.expired {
            visit(met.name, met.data_type);
        }
        ControlFlow::Continue(())
    })
}

/// Visits about `rows` keys from a cursor on. Gives the next cursor, 0 at the end.
pub fn page(
    txn: &mut Txn<'_>,
    database: u32,
    cursor: u64,
    rows: u64,
    mut visit: impl FnMut(&[u8], DataType),
) -> Outcome<u64> {
    let size = txn.database_size(database)?;
    txn.expect_work(rows.min(size))?;
    txn.saw_everything();
    let namespace = txn.database(database)?.namespace();
    let mut pager = Pager::new(rows);
    walk(txn, namespace, cursor.min(POSITION_END)..POSITION_END, |met| {
        if !pager.takes(met.position) {
            return ControlFlow::Break(());
        }
        if !met.expired {
            visit(met.name, met.data_type);
        }
        ControlFlow::Continue(())
    })?;
    Ok(pager.next)
}

/// Where a page ends.
struct Pager {
    left: u64,
    last: Option<Position>,
    next: u64,
}

impl Pager {
    fn new(rows: u64) -> Pager {
        Pager { left: rows, last: None, next: 0 }
    }

    /// Whether the row at this position still belongs to the page; if not, the next page begins with it.
    fn takes(&mut self, position: Position) -> bool {
        if self.left == 0 && self.last != Some(position) {
            self.next = position.0;
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.last = Some(position);
        true
    }
}

/// A key picked by chance, or none when there are none (or hardly one that has not expired).
pub fn random_key(txn: &mut Txn<'_>, database: u32) -> Outcome<Option<Vec<u8>>> {
    let size = txn.database_size(database)?;
    txn.saw_everything();
    let namespace = txn.database(database)?.namespace();
    if size == 0 {
        return Ok(None);
    }
    let windows = Windows::of(size);
    for _ in 0..DRAWS_MAX {
        let window = windows.range(txn.rng().below(windows.count));
        let Some(names) = keys_within(txn, namespace, window.clone(), windows.keys_max)? else {
            return pick_in_crowd(txn, namespace, window);
        };
        if windows.count == 1 && names.is_empty() {
            return Ok(None);
        }
        let drawn = txn.rng().below(windows.keys_max) as usize;
        if let Some(name) = names.into_iter().nth(drawn) {
            return Ok(Some(name));
        }
    }
    // Nearly all windows are empty: the keys crowd somewhere.
    pick_in_crowd(txn, namespace, 0..POSITION_END)
}

/// The positions cut into equal windows.
struct Windows {
    count: u64,
    width: u64,
    keys_max: u64,
}

impl Windows {
    fn of(keys: u64) -> Windows {
        let count = (keys / WINDOW_KEYS).max(1);
        let keys_max = if count == 1 { keys } else { WINDOW_KEYS_MAX };
        Windows { count, width: POSITION_END.div_ceil(count), keys_max }
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number * self.width;
        start.min(POSITION_END)..(start + self.width).min(POSITION_END)
    }
}

/// The keys within a window; nothing when there are more than `keys_max` rows.
fn keys_within(
    txn: &mut Txn<'_>,
    namespace: Namespace,
    window: Range<u64>,
    keys_max: u64,
) -> Outcome<Option<Vec<Vec<u8>>>> {
    let (mut names, mut rows) = (Vec::new(), 0);
    walk(txn, namespace, window, |met| {
        rows += 1;
        if rows > keys_max {
            return ControlFlow::Break(());
        }
        if !met.expired {
            names.push(met.name.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    Ok((rows <= keys_max).then_some(names))
}

/// A key of a range that holds too many for a window: one of all when they are not too many, else one of the neighbours of
/// a random position in one of its slots.
fn pick_in_crowd(txn: &mut Txn<'_>, namespace: Namespace, range: Range<u64>) -> Outcome<Option<Vec<u8>>> {
    let (picked, complete) = pick_among(txn, namespace, range.clone(), CROWD_ROWS_MAX)?;
    if complete {
        return Ok(picked);
    }
    let Some(name) = pick_behind_random(txn, namespace, range, 1)? else { return Ok(None) };
    let slot = u64::from(Position::of_key(txn.keyspace().seed(), &name).slot());
    let slot = slot * SLOT_WIDTH..(slot + 1) * SLOT_WIDTH;
    let (picked, complete) = pick_among(txn, namespace, slot.clone(), CROWD_ROWS_MAX)?;
    if complete {
        return Ok(picked.or(Some(name)));
    }
    Ok(pick_behind_random(txn, namespace, slot, CROWD_KEYS)?.or(Some(name)))
}

/// One of the live keys among the first `rows_max` rows of a range, each as likely as the others; and whether those were all.
fn pick_among(
    txn: &mut Txn<'_>,
    namespace: Namespace,
    range: Range<u64>,
    rows_max: u64,
) -> Outcome<(Option<Vec<u8>>, bool)> {
    let mut rng = txn.rng().clone();
    let (mut rows, mut keys, mut picked) = (0, 0, None);
    walk(txn, namespace, range, |met| {
        rows += 1;
        if rows > rows_max {
            return ControlFlow::Break(());
        }
        if !met.expired {
            keys += 1;
            // The nth key takes the place of the one picked so far with a chance of 1 in n.
            if rng.below(keys) == 0 {
                picked = Some(met.name.to_vec());
            }
        }
        ControlFlow::Continue(())
    })?;
    *txn.rng() = rng;
    Ok((picked, rows <= rows_max))
}

/// One of the `keys_max` keys that follow a random position of a range; behind its end its start follows.
fn pick_behind_random(
    txn: &mut Txn<'_>,
    namespace: Namespace,
    range: Range<u64>,
    keys_max: usize,
) -> Outcome<Option<Vec<u8>>> {
    let start = range.start + txn.rng().below(range.end.saturating_sub(range.start));
    let (mut names, mut rows) = (Vec::new(), 0);
    for part in [start..range.end, range.start..start] {
        let is_enough = |names: &Vec<Vec<u8>>, rows: u64| names.len() >= keys_max || rows >= CROWD_ROWS_MAX;
        if is_enough(&names, rows) {
            break;
        }
        walk(txn, namespace, part, |met| {
            rows += 1;
            if !met.expired {
                names.push(met.name.to_vec());
            }
            if is_enough(&names, rows) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    let drawn = txn.rng().below(names.len() as u64) as usize;
    Ok(names.into_iter().nth(drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_the_first_row_too_many() {
        let mut pager = Pager::new(2);
        assert!(pager.takes(Position(5)) && pager.takes(Position(7)) && !pager.takes(Position(9)));
        assert_eq!(pager.next, 9);
    }

    #[test]
    fn a_page_never_parts_equal_positions() {
        let mut pager = Pager::new(1);
        assert!(pager.takes(Position(5)) && pager.takes(Position(5)) && pager.takes(Position(5)));
        assert!(!pager.takes(Position(6)));
        assert_eq!(pager.next, 6);
    }

    #[test]
    fn a_page_that_reaches_the_end_has_no_next() {
        let mut pager = Pager::new(2);
        assert!(pager.takes(Position(0)) && pager.takes(Position(1)));
        assert_eq!(pager.next, 0);
    }

    #[test]
    fn windows_cover_every_position_once() {
        for keys in [1, 7, 8, 15, 16, 24, 1000, 1 << 40] {
            let windows = Windows::of(keys);
            assert_eq!(windows.range(0).start, 0);
            assert_eq!(windows.range(windows.count - 1).end, POSITION_END, "{keys} keys");
            let middle = windows.count / 2;
            if middle > 0 {
                assert_eq!(windows.range(middle - 1).end, windows.range(middle).start);
            }
        }
    }

    #[test]
    fn few_keys_share_one_window_that_cannot_overflow() {
        let windows = Windows::of(15);
        assert_eq!((windows.count, windows.keys_max), (1, 15));
    }
}
