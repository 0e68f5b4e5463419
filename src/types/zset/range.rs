//! Stretches of a sorted set: members between two ranks, scores or names, read and counted; and a member's rank.
//!
//! A selection is brought to a *span*: of a packed sorted set the positions from and to, of a spread one the score rows from and to.
//! Scores are bounds of rows at once. So are names if all scores are equal, which the ends in the head tell; if they are not, Redis
//! goes through the members from one end until the first name that fits, and so does this, on the pool. Ranks, and long offsets into
//! a span, are asked of the keyspace (`Txn::rank`, `Txn::row_at`).

use super::rows::Rows;
use super::{Pair, len, read_packed, score};
use crate::encoding::head::Body;
use crate::encoding::row::{PLACE_LEN, RowKey};
use crate::encoding::score::{
    SCORE_LEN, order_of, read_score_row, row_at_order, score_of, score_row, split_element,
};
use crate::encoding::{Damaged, Family};
use crate::keyspace::{Direction, Outcome, Stop, Stored, Stretch, Txn};
use std::ops::{ControlFlow, Range};

/// Longer offsets into a span are found by rank.
const OFFSET_WALK_MAX: u64 = 32;

/// Scores between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lowest.
    pub min: f64,
    /// The lowest itself is not meant.
    pub min_excluded: bool,
    /// The highest.
    pub max: f64,
    /// The highest itself is not meant.
    pub max_excluded: bool,
}

/// One end of a range of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every name (`-`).
    Min,
    /// After every name (`+`).
    Max,
    /// This name, which is meant too.
    Including(&'a [u8]),
    /// This name, which is not meant.
    Excluding(&'a [u8]),
}

/// Names between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The first.
    pub min: LexBound<'a>,
    /// The last.
    pub max: LexBound<'a>,
}

/// Which members are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Selection<'a> {
    /// From rank to rank, both meant, counted from the end when negative.
    Ranks(i64, i64),
    /// By score.
    Scores(ScoreRange),
    /// By name.
    Names(LexRange<'a>),
}

/// Which of the selected members, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From the end of the selection; ranks count from the end then.
    pub reversed: bool,
    /// So many are passed over.
    pub offset: u64,
    /// No more than so many are shown.
    pub members_max: u64,
}

impl Window {
    /// All, in order.
    pub const ALL: Window = Window { reversed: false, offset: 0, members_max: u64::MAX };
}

impl ScoreRange {
    fn is_empty(&self) -> bool {
        self.min > self.max || (self.min == self.max && (self.min_excluded || self.max_excluded))
    }

    /// The first order meant, and the first behind it that is not.
    fn orders(&self) -> Range<u64> {
        // There is room above infinity: what would be not-a-number.
        let start = order_of(self.min) + u64::from(self.min_excluded);
        let end = order_of(self.max) + u64::from(!self.max_excluded);
        start..end
    }
}

impl LexRange<'_> {
    fn is_empty(&self) -> bool {
        use LexBound::{Excluding, Including, Max, Min};
        match (self.min, self.max) {
            (Max, _) | (_, Min) => true,
            (Min, _) | (_, Max) => false,
            (Including(min), Including(max)) => min > max,
            (Including(min) | Excluding(min), Including(max) | Excluding(max)) => min >= max,
        }
    }

    fn is_above_min(&self, name: &[u8]) -> bool {
        match self.min {
            LexBound::Min => true,
            LexBound::Max => false,
            LexBound::Including(min) => name >= min,
            LexBound::Excluding(min) => name > min,
        }
    }

    fn is_below_max(&self, name: &[u8]) -> bool {
        match self.max {
            LexBound::Max => true,
            LexBound::Min => false,
            LexBound::Including(max) => name <= max,
            LexBound::Excluding(max) => name < max,
        }
    }
}

/// The ranks from `start` to `stop`, both meant and counted from the end when negative, of so many members.
fn ranks(start: i64, stop: i64, count: u64, reversed: bool) -> Range<u64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let from_front = |rank: i64| if rank < 0 { count + rank } else { rank };
    let (start, stop) = (from_front(start).max(0), from_front(stop).min(count - 1));
    if start > stop {
        return 0..0;
    }
    let range = start as u64..stop as u64 + 1;
    let count = count as u64;
    if reversed { count - range.end..count - range.start } else { range }
}

/// Finds where names begin and end to fit, among members that do not stand in the order of their names. Fed from one end on.
struct NameSearch<'a> {
    range: LexRange<'a>,
    reversed: bool,
    /// Positions, counted from where the walk began.
    start: Option<u64>,
    end: Option<u64>,
    at: u64,
}

impl<'a> NameSearch<'a> {
    fn new(range: LexRange<'a>, reversed: bool) -> NameSearch<'a> {
        NameSearch { range, reversed, start: None, end: None, at: 0 }
    }

    /// Breaks once both ends are known.
    fn feed(&mut self, name: &[u8]) -> ControlFlow<()> {
        let (above, below) = (self.range.is_above_min(name), self.range.is_below_max(name));
        let (enters, stays) = if self.reversed { (below, above) } else { (above, below) };
        let at = self.at;
        self.at += 1;
        if self.start.is_none() && enters {
            self.start = Some(at);
        }
        if self.start.is_some() && !stays {
            self.end = Some(at);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn found(&self) -> Range<u64> {
        match self.start {
            Some(start) => start..self.end.unwrap_or(self.at),
            None => 0..0,
        }
    }
}

/// The positions of the selected members of a packed sorted set.
pub(super) fn packed_span(pairs: &[Pair<'_>], selection: Selection<'_>, reversed: bool) -> Range<usize> {
    let count = pairs.len();
    match selection {
        Selection::Ranks(start, stop) => {
            let range = ranks(start, stop, count as u64, reversed);
            range.start as usize..range.end as usize
        }
        Selection::Scores(range) if range.is_empty() => 0..0,
        Selection::Scores(range) => {
            let orders = range.orders();
            let position = |order| pairs.partition_point(|pair| order_of(pair.0) < order);
            position(orders.start)..position(orders.end)
        }
        Selection::Names(range) => {
            let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else { return 0..0 };
            if range.is_empty() || !range.is_above_min(last.1) || !range.is_below_max(first.1) {
                return 0..0;
            }
            let mut search = NameSearch::new(range, reversed);
            if reversed {
                let _ = pairs.iter().rev().try_for_each(|pair| search.feed(pair.1));
                let found = search.found();
                count - found.end as usize..count - found.start as usize
            } else {
                let _ = pairs.iter().try_for_each(|pair| search.feed(pair.1));
                let found = search.found();
                found.start as usize..found.end as usize
            }
        }
    }
}

/// Score rows from `lower` (included) to `upper` (excluded).
#[derive(PartialEq, Eq)]
pub(super) struct Span {
    pub lower: RowKey,
    pub upper: RowKey,
}

impl Span {
    fn is_empty(&self) -> bool {
        self.lower >= self.upper
    }
}

/// The rows of the selected members; none for none. Ranks are cut by the caller's window and not here.
pub(super) fn rows_span(
    txn: &mut Txn<'_>,
    rows: &Rows,
    selection: Selection<'_>,
    reversed: bool,
) -> Outcome<Option<Span>> {
    let (first, end) = rows.limits();
    let span = match selection {
        Selection::Ranks(start, stop) => {
            let range = ranks(start, stop, rows.count, reversed);
            if range.is_empty() {
                return Ok(None);
            }
            rank_span(txn, rows, range, reversed)?
        }
        Selection::Scores(range) if range.is_empty() => return Ok(None),
        Selection::Scores(range) => {
            let orders = range.orders();
            let at = |order| row_at_order(&rows.place, order);
            Span { lower: at(orders.start), upper: at(orders.end) }
        }
        Selection::Names(range) if range.is_empty() => return Ok(None),
        Selection::Names(range) => {
            let (lowest, _) = split_element(first.get(PLACE_LEN..).unwrap_or_default())?;
            if lowest == highest_order_before(&end) {
                names_span(rows, score_of(lowest), range)
            } else {
                match mixed_names_span(txn, rows, range, reversed)? {
                    Some(span) => span,
                    None => return Ok(None),
                }
            }
        }
    };
    let span = Span { lower: span.lower.max(first), upper: span.upper.min(end) };
    Ok((!span.is_empty()).then_some(span))
}

/// The highest order that a row before `end` may have. That may be shorter than an order: the rows that begin with it, and those of
/// the order that it is, lie behind it.
fn highest_order_before(end: &[u8]) -> u64 {
    let element = end.get(PLACE_LEN..).unwrap_or_default();
    let mut order = [0; SCORE_LEN];
    let len = element.len().min(SCORE_LEN);
    order[..len].copy_from_slice(&element[..len]);
    u64::from_be_bytes(order).saturating_sub(u64::from(element.len() <= SCORE_LEN))
}

/// From the first rank, or when reversed to the last: the other end is left to the window.
fn rank_span(txn: &mut Txn<'_>, rows: &Rows, range: Range<u64>, reversed: bool) -> Outcome<Span> {
    let (mut lower, mut upper) = rows.limits();
    if reversed && range.end < rows.count {
        upper = row_behind(at_rank(txn, rows, range.end - 1)?);
    }
    if !reversed && range.start > 0 {
        lower = at_rank(txn, rows, range.start)?;
    }
    Ok(Span { lower, upper })
}

fn at_rank(txn: &mut Txn<'_>, rows: &Rows, rank: u64) -> Outcome<RowKey> {
    let (first, end) = rows.limits();
    let found = txn.row_at(Family::Score, rows.place, rows.count, (&first, &end), rank)?;
    found.ok_or_else(|| Damaged("sorted set with fewer members than its head counts").into())
}

pub(super) fn row_behind(mut row: RowKey) -> RowKey {
    row.push(0);
    row
}

/// All members have this score, so they stand in the order of their names.
fn names_span(rows: &Rows, score: f64, range: LexRange<'_>) -> Span {
    let row = |name: &[u8]| score_row(&rows.place, score, name);
    let (start, end) =
        (row_at_order(&rows.place, order_of(score)), row_at_order(&rows.place, order_of(score) + 1));
    let lower = match range.min {
        LexBound::Min => start,
        LexBound::Max => end.clone(),
        LexBound::Including(name) => row(name),
        LexBound::Excluding(name) => row_behind(row(name)),
    };
    let upper = match range.max {
        LexBound::Max => end,
        LexBound::Min => RowKey::new(),
        LexBound::Including(name) => row_behind(row(name)),
        LexBound::Excluding(name) => row(name),
    };
    Span { lower, upper }
}

/// The same where scores differ: by going through the members.
fn mixed_names_span(
    txn: &mut Txn<'_>,
    rows: &Rows,
    range: LexRange<'_>,
    reversed: bool,
) -> Outcome<Option<Span>> {
    txn.expect_work(rows.count)?;
    let (first, end) = rows.limits();
    let mut fits = [false; 2];
    for (direction, fits) in [Direction::Down, Direction::Up].into_iter().zip(&mut fits) {
        txn.scan(Family::Score, &first, &end, direction, |row, value| {
            let name = read_score_row(row, value)?.1;
            *fits = match direction {
                Direction::Down => range.is_above_min(name),
                Direction::Up => range.is_below_max(name),
            };
            Ok(ControlFlow::Break(()))
        })?;
    }
    if fits != [true; 2] {
        return Ok(None);
    }
    let mut search = NameSearch::new(range, reversed);
    let (mut from, mut to) = (None, None);
    let direction = if reversed { Direction::Down } else { Direction::Up };
    txn.scan(Family::Score, &first, &end, direction, |row, value| {
        let flow = search.feed(read_score_row(row, value)?.1);
        if from.is_none() && search.start.is_some() {
            from = Some(RowKey::from_slice(row));
        }
        if flow.is_break() {
            to = Some(RowKey::from_slice(row));
        }
        Ok(flow)
    })?;
    let Some(from) = from else { return Ok(None) };
    Ok(Some(if reversed {
        Span { lower: to.map_or(first, row_behind), upper: row_behind(from) }
    } else {
        Span { lower: from, upper: to.unwrap_or(end) }
    }))
}

/// How many members lie before a row.
fn rank_of_row(txn: &mut Txn<'_>, rows: &Rows, row: &[u8]) -> Outcome<u64> {
    let (first, end) = rows.limits();
    if *row <= first[..] {
        Ok(0)
    } else if *row >= end[..] {
        Ok(rows.count)
    } else {
        txn.rank(Family::Score, rows.place, rows.count, (&first, &end), row)
    }
}

/// How many members are selected by score or name.
pub fn count(txn: &mut Txn<'_>, stored: &Stored, selection: Selection<'_>) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(packed_span(&read_packed(bytes)?, selection, false).len() as u64),
        Body::Spread(spread) => {
            let rows = Rows::decode(spread)?;
            let Some(span) = rows_span(txn, &rows, selection, false)? else { return Ok(0) };
            let upper = rank_of_row(txn, &rows, &span.upper)?;
            Ok(upper.saturating_sub(rank_of_row(txn, &rows, &span.lower)?))
        }
    }
}

/// How many members come before this one, or after it when reversed; and its score.
pub fn rank(
    txn: &mut Txn<'_>,
    stored: &Stored,
    member: &[u8],
    reversed: bool,
) -> Outcome<Option<(u64, f64)>> {
    let (rank, score) = match stored.body() {
        Body::Whole(bytes) => {
            let pairs = read_packed(bytes)?;
            let Some(at) = pairs.iter().position(|pair| pair.1 == member) else { return Ok(None) };
            (at as u64, pairs.get(at).map_or(0.0, |pair| pair.0))
        }
        Body::Spread(spread) => {
            let Some(score) = score(txn, stored, member)? else { return Ok(None) };
            let rows = Rows::decode(spread)?;
            (rank_of_row(txn, &rows, &score_row(&rows.place, score, member))?, score)
        }
    };
    let rank = if reversed { len(stored)?.saturating_sub(rank + 1) } else { rank };
    Ok(Some((rank, score)))
}

/// The ranks that are selected, if it is by rank.
pub(super) fn selected_ranks(selection: Selection<'_>, count: u64) -> Option<Range<u64>> {
    match selection {
        Selection::Ranks(start, stop) => Some(ranks(start, stop, count, false)),
        _ => None,
    }
}

/// How many members a window shows of a selection of ranks; without bound for other selections.
pub(super) fn members_max(selection: Selection<'_>, window: Window, count: u64) -> u64 {
    match selection {
        Selection::Ranks(start, stop) => {
            let range = ranks(start, stop, count, window.reversed);
            (range.end - range.start).min(window.members_max)
        }
        _ => window.members_max,
    }
}

/// Shows the selected members within the window to `visit`.
pub fn visit_selected(
    txn: &mut Txn<'_>,
    stored: &Stored,
    selection: Selection<'_>,
    window: Window,
    mut visit: impl FnMut(&[u8], f64),
) -> Outcome {
    let members_max = members_max(selection, window, len(stored)?);
    if members_max == 0 {
        return Ok(());
    }
    match stored.body() {
        Body::Whole(bytes) => {
            let pairs = read_packed(bytes)?;
            let span = packed_span(&pairs, selection, window.reversed);
            let selected = pairs.get(span).unwrap_or_default();
            let offset = usize::try_from(window.offset).unwrap_or(usize::MAX);
            let members_max = usize::try_from(members_max).unwrap_or(usize::MAX);
            let mut show = |pair: &Pair<'_>| visit(pair.1, pair.0);
            if window.reversed {
                selected.iter().rev().skip(offset).take(members_max).for_each(&mut show);
            } else {
                selected.iter().skip(offset).take(members_max).for_each(&mut show);
            }
            Ok(())
        }
        Body::Spread(spread) => {
            let rows = Rows::decode(spread)?;
            let Some(mut span) = rows_span(txn, &rows, selection, window.reversed)? else { return Ok(()) };
            let mut offset = window.offset;
            if offset > OFFSET_WALK_MAX {
                if !skip_by_rank(txn, &rows, &mut span, window)? {
                    return Ok(());
                }
                offset = 0;
            }
            walk(txn, &rows, &span, window.reversed, offset, members_max, visit)
        }
    }
}

/// Moves the beginning of a span by the window's offset. False if nothing is left.
fn skip_by_rank(txn: &mut Txn<'_>, rows: &Rows, span: &mut Span, window: Window) -> Outcome<bool> {
    if window.offset >= rows.count {
        return Ok(false);
    }
    if window.reversed {
        let last = rank_of_row(txn, rows, &span.upper)?.checked_sub(1 + window.offset);
        let Some(last) = last else { return Ok(false) };
        span.upper = row_behind(at_rank(txn, rows, last)?);
    } else {
        let first = rank_of_row(txn, rows, &span.lower)? + window.offset;
        if first >= rows.count {
            return Ok(false);
        }
        span.lower = at_rank(txn, rows, first)?;
    }
    Ok(!span.is_empty())
}

/// Goes through the rows of a span. A worker that finds too many leaves them to the pool.
pub(super) fn walk(
    txn: &mut Txn<'_>,
    rows: &Rows,
    span: &Span,
    reversed: bool,
    offset: u64,
    members_max: u64,
    mut visit: impl FnMut(&[u8], f64),
) -> Outcome {
    let steps_max = txn.steps_max();
    let end = offset.saturating_add(members_max);
    let mut seen = 0;
    let direction = if reversed { Direction::Down } else { Direction::Up };
    let (first, behind_last) = rows.limits();
    let Span { lower, upper } = span;
    let stretch = Stretch { lower, upper, is_first: *lower <= first, is_last: *upper >= behind_last };
    txn.scan_kept(Family::Score, stretch, direction, |row, value| {
        if seen >= steps_max {
            return Err(Stop::Heavy);
        }
        if seen >= offset {
            let (score, member) = read_score_row(row, value)?;
            visit(member, score);
        }
        seen += 1;
        Ok(if seen >= end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [Pair<'_>; 5] =
        [(f64::NEG_INFINITY, b"a"), (-1.0, b"b"), (0.0, b"c"), (0.0, b"d"), (f64::INFINITY, b"e")];

    fn by_score(min: f64, min_excluded: bool, max: f64, max_excluded: bool) -> Range<usize> {
        let range = ScoreRange { min, min_excluded, max, max_excluded };
        packed_span(&PAIRS, Selection::Scores(range), false)
    }

    #[test]
    fn scores_between_bounds_that_are_meant_or_not() {
        let inf = f64::INFINITY;
        assert_eq!(by_score(-inf, false, inf, false), 0..5);
        assert_eq!(by_score(-inf, true, inf, true), 1..4);
        assert_eq!(by_score(-0.0, false, 0.0, false), 2..4);
        assert_eq!(by_score(0.0, true, inf, false), 4..5);
        assert_eq!(by_score(inf, true, inf, false), 0..0);
        assert_eq!(by_score(1.0, false, 0.0, false), 0..0);
        assert_eq!(by_score(-1.0, false, 0.0, true), 1..2);
        assert_eq!(by_score(1.0, false, 2.0, false), 4..4);
    }

    #[test]
    fn ranks_count_from_either_end() {
        let check = |start, stop, reversed, expected| {
            assert_eq!(ranks(start, stop, 5, reversed), expected, "{start} {stop}");
        };
        check(0, -1, false, 0..5);
        check(1, 2, false, 1..3);
        check(0, 0, true, 4..5);
        check(-2, -1, true, 0..2);
        check(3, 1, false, 0..0);
        check(5, 9, false, 0..0);
        check(i64::MIN, i64::MAX, true, 0..5);
    }

    #[test]
    fn names_between_bounds() {
        use LexBound::{Excluding, Including, Max, Min};
        let pairs: Vec<Pair<'_>> = [&b"a"[..], b"b", b"bb", b"c"].map(|name| (0.0, name)).to_vec();
        let check = |min, max, expected: Range<usize>| {
            for reversed in [false, true] {
                let range = LexRange { min, max };
                let found = packed_span(&pairs, Selection::Names(range), reversed);
                assert_eq!(pairs[found].len(), expected.len(), "{range:?}");
                let found = packed_span(&pairs, Selection::Names(range), reversed);
                assert!(expected.is_empty() || found == expected, "{range:?}");
            }
        };
        check(Min, Max, 0..4);
        check(Max, Min, 0..0);
        check(Min, Min, 0..0);
        check(Including(b"b"), Including(b"bb"), 1..3);
        check(Excluding(b"b"), Excluding(b"c"), 2..3);
        check(Including(b"b"), Excluding(b"b"), 0..0);
        check(Including(b"b"), Including(b"b"), 1..2);
        check(Including(b"x"), Max, 0..0);
        check(Min, Excluding(b"a"), 0..0);
    }

    #[test]
    fn names_among_different_scores_are_found_from_the_end_the_walk_begins_at() {
        let pairs: [Pair<'_>; 4] = [(1.0, b"b"), (2.0, b"a"), (3.0, b"c"), (4.0, b"b")];
        let range = LexRange { min: LexBound::Including(b"b"), max: LexBound::Including(b"b") };
        assert_eq!(packed_span(&pairs, Selection::Names(range), false), 0..2);
        assert_eq!(packed_span(&pairs, Selection::Names(range), true), 2..4);
    }
}
