//! The middle of a list: finding elements by value, inserting beside one, removing, replacing.
//!
//! Finding walks the elements in order, so a worker gives up after some thousands and the pool goes on. What is then changed is
//! local in a spread list: one row is written, or those that go are deleted; the rest stays where it is.

use super::packed::{self, PackedList};
use super::rows::{Rows, miscounted};
use super::{Anew, End, Unfinished, is_better_written_anew, listpack, room, save_rows, write_rows_anew};
use crate::encoding::Family;
use crate::encoding::head::Body;
use crate::keyspace::{Key, Outcome, Sought, Stored, Txn};
use std::ops::ControlFlow;

/// Which side of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nearer to the front.
    Before,
    /// Nearer to the back.
    After,
}

/// Shows the indexes, counted from the front, of the elements equal to `wanted` to `visit` until it breaks. Looks from an end on, at
/// `elements_max` elements at most.
pub fn find(
    txn: &mut Txn<'_>,
    stored: &Stored,
    wanted: &[u8],
    from: End,
    elements_max: u64,
    mut visit: impl FnMut(u64) -> ControlFlow<()>,
) -> Outcome {
    let len = super::len(stored)?;
    let mut seen = 0;
    let mut look_at = |element: &[u8]| {
        if seen == elements_max {
            return ControlFlow::Break(());
        }
        let index = if from == End::Front { seen } else { len.saturating_sub(seen + 1) };
        seen += 1;
        if element == wanted { visit(index) } else { ControlFlow::Continue(()) }
    };
    match stored.body() {
        Body::Whole(bytes) => {
            let elements = PackedList::elements(bytes)?;
            let _ = match from {
                End::Front => elements.iter().try_for_each(|element| look_at(element)),
                End::Back => elements.iter().rev().try_for_each(|element| look_at(element)),
            };
            Ok(())
        }
        Body::Spread(spread) => Rows::decode(spread)?.visit(txn, from, |_, element| Ok(look_at(element))),
    }
}

/// Puts an element beside the first one equal to `pivot`. Gives the new length, or none if there is no such element.
pub fn insert(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    side: Side,
    pivot: &[u8],
    element: &[u8],
) -> Outcome<Option<u64>> {
    let mut head = Unfinished::of(Some(stored));
    match stored.body() {
        Body::Whole(bytes) => {
            let mut elements = PackedList::elements(bytes)?;
            let Some(found) = elements.iter().position(|&other| other == pivot) else { return Ok(None) };
            elements.insert(found + usize::from(side == Side::After), element);
            head.grow_packed(txn, bytes, 1, element.len() as u64)?;
            packed::save(txn, key, head, &elements)?;
            Ok(Some(elements.len() as u64))
        }
        Body::Spread(spread) => {
            let mut rows = Rows::decode(spread)?;
            let Some((low, high)) = gap_beside(txn, &rows, side, pivot)? else { return Ok(None) };
            head.grow(txn, rows.count + 1, rows.listpack_bytes + element.len() as u64);
            match (low, high) {
                (None, _) => rows.push(txn, key, End::Front, std::iter::once(element))?,
                (_, None) => rows.push(txn, key, End::Back, std::iter::once(element))?,
                (Some(low), Some(high)) => room::insert_between(txn, key, &mut rows, low, high, element)?,
            }
            save_rows(txn, key, head, rows)?;
            Ok(Some(rows.count))
        }
    }
}

/// The positions on both sides of the gap beside the first element equal to `pivot`; at an end of the list there is only one.
fn gap_beside(
    txn: &mut Txn<'_>,
    rows: &Rows,
    side: Side,
    pivot: &[u8],
) -> Outcome<Option<(Option<i64>, Option<i64>)>> {
    let found = match txn.seek(rows.place, rows.count, (rows.first, rows.last), pivot)? {
        Sought::At(position) => Some(position),
        Sought::Nowhere => None,
        Sought::NotBefore(start) => walk_to(txn, rows, start, pivot)?,
    };
    let Some(found) = found else { return Ok(None) };
    Ok(Some(match side {
        Side::Before if found > rows.first => {
            (neighbour(txn, rows, rows.first, found - 1, End::Back)?, Some(found))
        }
        Side::Before => (None, Some(found)),
        Side::After if found < rows.last => {
            (Some(found), neighbour(txn, rows, found + 1, rows.last, End::Front)?)
        }
        Side::After => (Some(found), None),
    }))
}

/// The position of the first element equal to `pivot` from `start` on. From the list's front on, marks of what is read are gathered, so that the
/// next search is short.
fn walk_to(txn: &mut Txn<'_>, rows: &Rows, start: i64, pivot: &[u8]) -> Outcome<Option<i64>> {
    let mut marking = if start <= rows.first { txn.begin_marks(rows.place, rows.count) } else { None };
    let mut found = None;
    if start <= rows.last {
        rows.visit_between(txn, start, rows.last, End::Front, |position, element| {
            if let Some(marking) = &mut marking {
                marking.add(position, element);
            }
            found = (element == pivot).then_some(position);
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    txn.keep_marks(marking);
    Ok(found)
}

/// The outermost row between two positions, both included, seen from an end.
fn neighbour(txn: &mut Txn<'_>, rows: &Rows, first: i64, last: i64, from: End) -> Outcome<Option<i64>> {
    let mut found = None;
    rows.visit_between(txn, first, last, from, |position, _| {
        found = Some(position);
        Ok(ControlFlow::Break(()))
    })?;
    found.map(Some).ok_or_else(miscounted)
}

/// Replaces the nth element, which must exist.
pub fn set(txn: &mut Txn<'_>, key: &Key, stored: &Stored, nth: u64, element: &[u8]) -> Outcome {
    let mut head = Unfinished::of(Some(stored));
    let (now, text_bytes) = (listpack::element_bytes(element), element.len() as u64);
    match stored.body() {
        Body::Whole(bytes) => {
            let mut elements = PackedList::elements(bytes)?;
            head.grow_packed(txn, bytes, 1, text_bytes)?;
            *elements.get_mut(nth as usize).ok_or_else(miscounted)? = element;
            if head.is_quicklist() {
                let sizes = elements.iter().map(|element| listpack::element_bytes(element));
                head.shrink(txn, elements.len() as u64, listpack::EMPTY_BYTES + sizes.sum::<u64>());
            }
            packed::save(txn, key, head, &elements)
        }
        Body::Spread(spread) => {
            let mut rows = Rows::decode(spread)?;
            let position = rows.locate(txn, nth)?;
            let row = rows.place.index_row(position);
            let old = txn.element(Family::List, &row)?.ok_or_else(miscounted)?;
            head.grow(txn, rows.count + 1, rows.listpack_bytes + text_bytes);
            rows.listpack_bytes = (rows.listpack_bytes + now).saturating_sub(listpack::element_bytes(&old));
            head.shrink(txn, rows.count, rows.listpack_bytes);
            txn.put_element(key, Family::List, &row, element)?;
            save_rows(txn, key, head, rows)
        }
    }
}

/// Removes up to `count_max` elements equal to `unwanted`, those nearest to an end first. Gives how many there were. A list without
/// elements is no more.
pub fn remove(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    from: End,
    count_max: u64,
    unwanted: &[u8],
) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => remove_packed(txn, key, stored, bytes, from, count_max, unwanted),
        Body::Spread(spread) => {
            remove_rows(txn, key, stored, Rows::decode(spread)?, from, count_max, unwanted)
        }
    }
}

fn remove_packed(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    bytes: &[u8],
    from: End,
    count_max: u64,
    unwanted: &[u8],
) -> Outcome<u64> {
    let mut elements = PackedList::elements(bytes)?;
    let mut removed = 0;
    let mut stays = |element: &mut &[u8]| {
        let goes = removed < count_max && *element == unwanted;
        removed += u64::from(goes);
        !goes
    };
    match from {
        End::Front => elements.retain(&mut stays),
        End::Back => {
            elements.reverse();
            elements.retain(&mut stays);
            elements.reverse();
        }
    }
    if removed == 0 {
        return Ok(0);
    }
    if elements.is_empty() {
        txn.delete(key)?;
        return Ok(removed);
    }
    let mut head = Unfinished::of(Some(stored));
    if head.is_quicklist() {
        let sizes = elements.iter().map(|element| listpack::element_bytes(element));
        head.shrink(txn, elements.len() as u64, listpack::EMPTY_BYTES + sizes.sum::<u64>());
    }
    packed::save(txn, key, head, &elements)?;
    Ok(removed)
}

/// What a search for rows to remove has found.
#[derive(Default)]
struct Found {
    /// Positions of the rows that go, in the order of the search.
    gone: Vec<i64>,
    /// The first row met that stays.
    nearest_kept: Option<i64>,
    /// The last row met that stays.
    farthest_kept: Option<i64>,
}

fn remove_rows(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    mut rows: Rows,
    from: End,
    count_max: u64,
    unwanted: &[u8],
) -> Outcome<u64> {
    let mut found = Found::default();
    rows.visit(txn, from, |position, element| {
        if (found.gone.len() as u64) < count_max && element == unwanted {
            found.gone.push(position);
            return Ok(ControlFlow::Continue(()));
        }
        found.nearest_kept.get_or_insert(position);
        found.farthest_kept = Some(position);
        let enough = found.gone.len() as u64 == count_max;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let removed = found.gone.len() as u64;
    if removed == 0 {
        return Ok(0);
    }
    let (Some(nearest_kept), Some(farthest_kept)) = (found.nearest_kept, found.farthest_kept) else {
        txn.delete(key)?;
        return Ok(removed);
    };
    if removed < rows.count && is_better_written_anew(txn, rows.count - removed, removed) {
        found.gone.sort_unstable();
        write_rest_anew(txn, key, stored, &rows, &found.gone)?;
        return Ok(removed);
    }
    let was_even = rows.even;
    let outermost_goes = |position| found.gone.last() == Some(&position);
    // At the search's start a row that stays was always met; at its far end one was, if the outermost row there goes.
    match from {
        End::Front => {
            rows.last = if outermost_goes(rows.last) { farthest_kept } else { rows.last };
            rows.first = nearest_kept;
        }
        End::Back => {
            rows.first = if outermost_goes(rows.first) { farthest_kept } else { rows.first };
            rows.last = nearest_kept;
        }
    }
    for position in found.gone {
        txn.delete_element(key, Family::List, &rows.place.index_row(position))?;
    }
    rows.count = rows.count.checked_sub(removed).filter(|&left| left > 0).ok_or_else(miscounted)?;
    let bytes = listpack::element_bytes(unwanted) * removed;
    rows.listpack_bytes = rows.listpack_bytes.saturating_sub(bytes);
    rows.look_whether_even(was_even);
    let mut head = Unfinished::of(Some(stored));
    head.shrink(txn, rows.count, rows.listpack_bytes);
    save_rows(txn, key, head, rows)?;
    Ok(removed)
}

/// Writes all rows anew but those at the positions given, in ascending order.
fn write_rest_anew(txn: &mut Txn<'_>, key: &Key, stored: &Stored, rows: &Rows, gone: &[i64]) -> Outcome {
    let count = rows.count - gone.len() as u64;
    let mut gone = gone.iter().peekable();
    if count > txn.keyspace().tuning().batch_rows_max() as u64 {
        return write_rows_anew(txn, key, stored, rows, |position| gone.next_if_eq(&&position).is_none());
    }
    let mut anew = Anew::new(count);
    rows.visit(txn, End::Front, |position, element| {
        if gone.next_if_eq(&&position).is_none() {
            anew.add(element);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    anew.save(txn, key, stored)
}
