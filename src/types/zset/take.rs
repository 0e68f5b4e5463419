//! Taking members out: stretches (ZREMRANGEBY..), and pops from either end.
//!
//! A pop of no more members than the head names reads no score row at all; else the rows are scanned from the end inwards. When very
//! many go, those that stay are written anew, and all old rows die with their place.

use super::build::Writing;
use super::edges::Side;
use super::range::{
    Selection, Span, Window, members_max, packed_span, row_behind, rows_span, selected_ranks, walk,
};
use super::rows::Rows;
use super::{OwnedPair, Unfinished, len, read_packed, save_all};
use crate::encoding::Family;
use crate::encoding::head::Body;
use crate::encoding::row::{PLACE_LEN, POSITION_LEN, RowKey};
use crate::encoding::score::{decode_score, read_score_row, score_of, score_row, split_element};
use crate::keyspace::{Key, Outcome, Stored, Txn};
use crate::types::pages::{PAGE_ROWS, Pages};
use std::ops::Range;

/// Removes the selected members. A sorted set without members is no more. Gives how many.
pub fn remove_selected(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    selection: Selection<'_>,
) -> Outcome<u64> {
    let head = Unfinished::of(Some(stored));
    match stored.body() {
        Body::Whole(bytes) => {
            let mut pairs = read_packed(bytes)?;
            let span = packed_span(&pairs, selection, false);
            let removed = span.len();
            pairs.drain(span);
            if pairs.is_empty() {
                txn.delete(key)?;
            } else if removed > 0 {
                save_all(txn, key, head, &pairs)?;
            }
            Ok(removed as u64)
        }
        Body::Spread(spread) => {
            let mut rows = Rows::decode(spread)?;
            let cut_max = txn.keyspace().tuning().cut_rows_max(rows.count);
            let all = limits_of(&rows);
            if let Some(gone) = selected_ranks(selection, rows.count)
                && gone.end - gone.start > cut_max.min(rows.count.saturating_sub(1))
            {
                if gone == (0..rows.count) {
                    txn.delete(key)?;
                    return Ok(rows.count);
                }
                // All rows are gone through anyway: there is no need to ask where the first is.
                return write_rest(txn, key, head, &rows, &all, gone, &mut |_, _| ());
            }
            let Some(span) = rows_span(txn, &rows, selection, false)? else { return Ok(0) };
            let members_max = members_max(selection, Window::ALL, rows.count);
            if members_max >= rows.count && span == all {
                txn.delete(key)?;
                return Ok(rows.count);
            }
            let members = find_rows(txn, &rows, &span, false, members_max.min(cut_max + 1))?;
            if members.len() as u64 > cut_max {
                drop(members);
                return write_rest(txn, key, head, &rows, &span, 0..members_max, &mut |_, _| ());
            }
            if !members.is_empty() {
                delete_rows(txn, key, &mut rows, &members, false)?;
                rows.save(txn, key, head)?;
            }
            Ok(members.len() as u64)
        }
    }
}

/// The first members of a span, up to `members_max`.
fn find_rows(
    txn: &mut Txn<'_>,
    rows: &Rows,
    span: &Span,
    reversed: bool,
    members_max: u64,
) -> Outcome<Vec<OwnedPair>> {
    let mut found = Vec::new();
    walk(txn, rows, span, reversed, 0, members_max, |member, score| found.push((score, member.to_vec())))?;
    Ok(found)
}

/// Removes members that follow one another. The head is still to be saved.
fn delete_rows(
    txn: &mut Txn<'_>,
    key: &Key,
    rows: &mut Rows,
    removed: &[OwnedPair],
    reversed: bool,
) -> Outcome {
    rows.delete_all(txn, key, removed)?;
    if let (Some(first), Some(last)) = (removed.first(), removed.last()) {
        let (low, high) = if reversed { (last, first) } else { (first, last) };
        let low = score_row(&rows.place, low.0, &low.1);
        let high = row_behind(score_row(&rows.place, high.0, &high.1));
        rows.forget_between(&low, &high);
    }
    Ok(())
}

/// Writes anew all members but some of a span, which are counted within it; shows those to `visit`, the lowest first. Gives how many
/// they were.
///
/// Both kinds of rows are read and written in their own order, one after the other: what goes is one stretch of scores.
fn write_rest(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    rows: &Rows,
    span: &Span,
    gone: Range<u64>,
    visit: &mut dyn FnMut(&[u8], f64),
) -> Outcome<u64> {
    if gone.start == 0 && gone.end >= rows.count && *span == limits_of(rows) {
        walk(txn, rows, span, false, 0, u64::MAX, visit)?;
        txn.delete(key)?;
        return Ok(rows.count);
    }
    txn.expect_work(rows.count)?;
    let mut writing = Writing::begin(txn, key, rows.count);
    let (mut in_span, mut removed) = (0, 0);
    let mut ends: Option<(RowKey, RowKey)> = None;
    let Span { lower, upper } = limits_of(rows);
    let mut pages = Pages::between(Family::Score, rows.place, lower, upper, PAGE_ROWS);
    let mut row = RowKey::from_slice(&rows.place.prefix());
    while let Some((element, value)) = pages.peek(txn)? {
        row.truncate(PLACE_LEN);
        row.extend_from_slice(element);
        let (score, member) = read_score_row(&row, value)?;
        let is_inside = row >= span.lower && row < span.upper;
        if is_inside && gone.contains(&in_span) {
            visit(member, score);
            removed += 1;
            match &mut ends {
                Some((_, last)) => last.clone_from(&row),
                None => ends = Some((row.clone(), row.clone())),
            }
        } else {
            writing.put_score_row(txn, key, score, member)?;
        }
        in_span += u64::from(is_inside);
        pages.advance();
    }
    let mut pages = Pages::new(Family::Member, rows.place, PAGE_ROWS);
    while let Some((element, value)) = pages.peek(txn)? {
        let member = element.get(POSITION_LEN..).unwrap_or_default();
        let by_score = score_row(&rows.place, decode_score(value)?, member);
        if ends.as_ref().is_none_or(|(first, last)| by_score < *first || by_score > *last) {
            writing.put_member_row(txn, key, element, value)?;
        }
        pages.advance();
    }
    writing.save(txn, key, head)?;
    Ok(removed)
}

/// From the first row to the last.
fn limits_of(rows: &Rows) -> Span {
    let (lower, upper) = rows.limits();
    Span { lower, upper }
}

/// Takes up to `count` members from an end, showing each to `visit`, the outermost first.
pub fn pop(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    side: Side,
    count: u64,
    mut visit: impl FnMut(&[u8], f64),
) -> Outcome {
    let count = count.min(len(stored)?);
    if count == 0 {
        return Ok(());
    }
    txn.expect_work(count)?;
    let head = Unfinished::of(Some(stored));
    match stored.body() {
        Body::Whole(bytes) => {
            let mut pairs = read_packed(bytes)?;
            for _ in 0..count {
                let popped = match side {
                    Side::Low if pairs.is_empty() => None,
                    Side::Low => Some(pairs.remove(0)),
                    Side::High => pairs.pop(),
                };
                if let Some((score, member)) = popped {
                    visit(member, score);
                }
            }
            if pairs.is_empty() {
                txn.delete(key)?;
                return Ok(());
            }
            save_all(txn, key, head, &pairs)
        }
        Body::Spread(spread) => {
            let mut rows = Rows::decode(spread)?;
            let known = match side {
                Side::Low => rows.low.rows(),
                Side::High => rows.high.rows(),
            };
            if known.len() as u64 >= count {
                let known = known.iter().take(count as usize).cloned().collect::<Vec<_>>();
                for element in known {
                    pop_known(txn, key, &mut rows, &element, &mut visit)?;
                }
            } else {
                let span = limits_of(&rows);
                if count > txn.keyspace().tuning().cut_rows_max(rows.count) {
                    return pop_many(txn, key, head, &rows, &span, side, count, &mut visit);
                }
                let taken = find_rows(txn, &rows, &span, side == Side::High, count)?;
                delete_rows(txn, key, &mut rows, &taken, side == Side::High)?;
                taken.iter().for_each(|(score, member)| visit(member, *score));
            }
            rows.save(txn, key, head)
        }
    }
}

/// Takes so many that those left are written anew.
#[expect(clippy::too_many_arguments, reason = "all of a pop, in one place")]
fn pop_many(
    txn: &mut Txn<'_>,
    key: &Key,
    head: Unfinished,
    rows: &Rows,
    span: &Span,
    side: Side,
    count: u64,
    visit: &mut dyn FnMut(&[u8], f64),
) -> Outcome {
    if side == Side::Low {
        return write_rest(txn, key, head, rows, span, 0..count, visit).map(drop);
    }
    let mut taken = Vec::new();
    let gone = rows.count.saturating_sub(count)..rows.count;
    write_rest(txn, key, head, rows, span, gone, &mut |member, score| taken.push((score, member.to_vec())))?;
    taken.iter().rev().for_each(|(score, member)| visit(member, *score));
    Ok(())
}

/// Takes a member that the head names.
fn pop_known(
    txn: &mut Txn<'_>,
    key: &Key,
    rows: &mut Rows,
    element: &[u8],
    visit: &mut dyn FnMut(&[u8], f64),
) -> Outcome {
    let (order, member) = split_element(element)?;
    let row = rows.member_row(txn, member);
    let mut score = score_of(order);
    if score == 0.0 {
        // Its sign is not in its order.
        score = txn.element(Family::Member, &row)?.as_deref().map_or(Ok(score), decode_score)?;
    }
    visit(member, score);
    rows.delete(txn, key, score, member, &row)
}
