//! Sets: members without order, each once.
//!
//! A small set is packed into its head, a member an entry (see `encoding::packed`): in numeric order while it is what Redis calls an
//! intset, else in the order the members came. One that has outgrown `packed-max-bytes` is spread: a row a member in the order of the
//! members' hashes, and a head that counts them. It stays spread until it is emptied or overwritten.
//!
//! The note is what Redis would keep the set as (`Form`); it only ever climbs. OBJECT ENCODING answers it whatever the form here.
//!
//! Read in this order: this file (one set), `algebra` (several).
//!
//! Operations take the head that the caller has loaded. Locks: the caller's key is locked by its command.

mod algebra;
#[cfg(test)]
mod golden;

pub use algebra::{Operation, combine, combine_into, count_common};

use super::pages::{PAGE_ROWS, Pages};
use super::pick::{Picks, pick_from, pick_rows};
use super::positions;
use crate::base::number::parse_i64;
use crate::encoding::Family;
use crate::encoding::head::{Body, DataType, Spread};
use crate::encoding::packed::{Packed, entry_len, varint_len, write_packed};
use crate::encoding::row::{PLACE_LEN, POSITION_END, POSITION_LEN, RowKey};
use crate::keyspace::{Key, NewHead, Outcome, Stored, Tuning, Txn};
use ahash::AHashSet;
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// The members of a packed set, most often few enough for the stack.
type Members<'a> = SmallVec<[&'a [u8]; 64]>;

/// Above so many members, old and new, they are looked up in an index.
const LINEAR_MAX: usize = 64;

/// What Redis would keep a set as. The numbers are on disk, as the head's note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Whole numbers only, in order.
    Intset = 0,
    /// Few and short members, in the order they came.
    Listpack = 1,
    /// Anything else.
    Hashtable = 2,
}

impl Form {
    fn of(stored: &Stored) -> Form {
        match stored.note() {
            0 => Form::Intset,
            1 => Form::Listpack,
            _ => Form::Hashtable,
        }
    }

    /// What Redis makes for a first member of which it knows that `hint` may come.
    fn new(tuning: &Tuning, first: &[u8], hint: usize) -> Form {
        if is_integer(first) && hint <= tuning.set_intset_entries_max() {
            Form::Intset
        } else if hint <= tuning.set_entries_max() {
            Form::Listpack
        } else {
            Form::Hashtable
        }
    }

    /// The form of a set that is told to expect `hint` members.
    fn expecting(self, tuning: &Tuning, hint: usize) -> Form {
        match self {
            Form::Intset if hint > tuning.set_intset_entries_max() => Form::Hashtable,
            Form::Listpack if hint > tuning.set_entries_max() => Form::Hashtable,
            form => form,
        }
    }

    /// The form once a new member has come to `len` others, the longest of which (only asked for an intset) has `longest` bytes.
    fn grown(self, tuning: &Tuning, member: &[u8], len: u64, longest: impl FnOnce() -> usize) -> Form {
        let value_max = tuning.set_value_bytes_max();
        let fits = |len: u64| len < tuning.set_entries_max() as u64 && member.len() <= value_max;
        match self {
            Form::Intset if is_integer(member) => {
                if len + 1 > tuning.set_intset_entries_max() as u64 {
                    Form::Hashtable
                } else {
                    Form::Intset
                }
            }
            Form::Intset if fits(len) && (value_max >= INTEGER_LEN_MAX || longest() <= value_max) => {
                Form::Listpack
            }
            Form::Listpack if fits(len) => Form::Listpack,
            _ => Form::Hashtable,
        }
    }
}

/// The longest whole number as text.
const INTEGER_LEN_MAX: usize = 20;

fn is_integer(member: &[u8]) -> bool {
    parse_i64(member).is_some()
}

/// What OBJECT ENCODING answers for a set.
pub fn object_encoding(stored: &Stored) -> &'static str {
    match Form::of(stored) {
        Form::Intset => "intset",
        Form::Listpack => "listpack",
        Form::Hashtable => "hashtable",
    }
}

/// Loads a key that must be a set, if it exists.
pub fn load(txn: &mut Txn<'_>, key: &Key) -> Outcome<Option<Stored>> {
    txn.load_typed(key, DataType::Set)
}

/// How many members a set has.
pub fn len(stored: &Stored) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(bytes) => Ok(Packed::decode(bytes)?.count()),
        Body::Spread(spread) => Ok(spread.count),
    }
}

/// Whether a member is in a set.
pub fn contains(txn: &mut Txn<'_>, stored: &Stored, member: &[u8]) -> Outcome<bool> {
    match stored.body() {
        Body::Whole(bytes) => {
            for found in Packed::decode(bytes)?.iter() {
                if found? == member {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Body::Spread(spread) => {
            let row = spread.place.field_row(txn.keyspace().seed(), member);
            Ok(txn.element(Family::Set, &row)?.is_some())
        }
    }
}

/// Adds members; gives how many are new.
pub fn add<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&'a Stored>,
    new: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> Outcome<u64> {
    txn.expect_work(new.len() as u64)?;
    let tuning = txn.keyspace().tuning();
    let (hint, first) = (new.len(), new.clone().next().unwrap_or_default());
    let form = match stored {
        None => Form::new(tuning, first, hint),
        Some(stored) => Form::of(stored).expecting(tuning, hint),
    };
    match stored.map(Stored::body) {
        Some(Body::Spread(spread)) => add_rows(txn, key, stored, spread, form, new),
        whole => {
            let old: Members<'a> = match whole {
                Some(Body::Whole(bytes)) => Packed::decode(bytes)?.iter().collect::<Result<_, _>>()?,
                _ => Members::new(),
            };
            let before = old.len();
            let (members, form) = merge(tuning, old, form, new);
            let added = (members.len() - before) as u64;
            if added > 0 || stored.is_some_and(|stored| Form::of(stored) != form) {
                save(txn, key, &members, form, stored.and_then(Stored::expires_at_ms))?;
            }
            Ok(added)
        }
    }
}

/// Old members and the new ones among `new`, and the form they make up.
fn merge<'a>(
    tuning: &Tuning,
    mut members: Members<'a>,
    mut form: Form,
    new: impl ExactSizeIterator<Item = &'a [u8]>,
) -> (Members<'a>, Form) {
    let mut index: Option<AHashSet<&[u8]>> =
        (members.len() + new.len() > LINEAR_MAX).then(|| members.iter().copied().collect());
    for member in new {
        let is_new = match &mut index {
            Some(index) => index.insert(member),
            None => !members.contains(&member),
        };
        if !is_new {
            continue;
        }
        let longest = || members.iter().map(|member| member.len()).max().unwrap_or(0);
        form = form.grown(tuning, member, members.len() as u64, longest);
        let at = match (form, parse_i64(member)) {
            (Form::Intset, Some(number)) => members.partition_point(|old| parse_i64(old) < Some(number)),
            _ => members.len(),
        };
        members.insert(at, member);
    }
    (members, form)
}

/// Writes a whole set, packed if it is small enough.
fn save(txn: &mut Txn<'_>, key: &Key, members: &[&[u8]], form: Form, expires_at_ms: Option<u64>) -> Outcome {
    let head = |body| NewHead::new(DataType::Set, body).noted(form as u8).expiring(expires_at_ms);
    let count = members.len() as u64;
    let packed_len = varint_len(count) + members.iter().map(|member| entry_len(member.len())).sum::<usize>();
    if packed_len <= txn.keyspace().tuning().packed_bytes_max() {
        return txn.save_with(key, head(Body::Whole(b"")), |out| {
            write_packed(out, count, members.iter().copied());
        });
    }
    let place = txn.new_place(key);
    for member in members {
        let row = place.field_row(txn.keyspace().seed(), member);
        txn.put_element(key, Family::Set, &row, b"")?;
    }
    txn.save(key, head(Body::Spread(Spread { place, count, extra: b"" })))
}

fn add_rows<'a>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&Stored>,
    spread: Spread<'_>,
    mut form: Form,
    new: impl Iterator<Item = &'a [u8]>,
) -> Outcome<u64> {
    let tuning = txn.keyspace().tuning();
    let mut longest = 0;
    if form == Form::Intset && tuning.set_value_bytes_max() < INTEGER_LEN_MAX {
        walk(txn, spread, |member| longest = longest.max(member.len()))?;
    }
    let mut count = spread.count;
    for member in new {
        let row = spread.place.field_row(txn.keyspace().seed(), member);
        if txn.element(Family::Set, &row)?.is_some() {
            continue;
        }
        form = form.grown(tuning, member, count, || longest);
        longest = longest.max(member.len());
        txn.insert_element(key, Family::Set, &row, b"")?;
        count += 1;
    }
    if count > spread.count || stored.is_some_and(|stored| Form::of(stored) != form) {
        save_spread(txn, key, stored, Spread { count, ..spread }, form)?;
    }
    Ok(count - spread.count)
}

fn save_spread(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: Option<&Stored>,
    spread: Spread<'_>,
    form: Form,
) -> Outcome {
    let head = NewHead::new(DataType::Set, Body::Spread(spread)).noted(form as u8);
    txn.save(key, head.expiring(stored.and_then(Stored::expires_at_ms)))
}

/// Removes members; a set without members is no more. Gives how many were removed.
pub fn remove<'m>(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    members: impl ExactSizeIterator<Item = &'m [u8]>,
) -> Outcome<u64> {
    txn.expect_work(members.len() as u64)?;
    match stored.body() {
        Body::Whole(bytes) => {
            let mut left: Members<'_> = Packed::decode(bytes)?.iter().collect::<Result<_, _>>()?;
            let before = left.len();
            for member in members {
                if let Some(at) = left.iter().position(|other| *other == member) {
                    left.remove(at);
                }
            }
            if left.is_empty() {
                txn.delete(key)?;
            } else if left.len() < before {
                save(txn, key, &left, Form::of(stored), stored.expires_at_ms())?;
            }
            Ok((before - left.len()) as u64)
        }
        Body::Spread(spread) => {
            let mut removed = 0;
            for member in members {
                let row = spread.place.field_row(txn.keyspace().seed(), member);
                if txn.element(Family::Set, &row)?.is_some() {
                    txn.delete_element(key, Family::Set, &row)?;
                    removed += 1;
                }
            }
            let count = spread.count.saturating_sub(removed);
            if count == 0 {
                txn.delete(key)?;
            } else if removed > 0 {
                save_spread(txn, key, Some(stored), Spread { count, ..spread }, Form::of(stored))?;
            }
            Ok(removed)
        }
    }
}

/// Takes `count` members by chance, each as likely as any other, out of a spread set that has more, when they are so many that those
/// left are better written anew. False, and nothing done, when they are not.
pub fn take_many(
    txn: &mut Txn<'_>,
    key: &Key,
    stored: &Stored,
    count: u64,
    mut visit: impl FnMut(&[u8]),
) -> Outcome<bool> {
    let Body::Spread(spread) = stored.body() else { return Ok(false) };
    if count <= txn.keyspace().tuning().cut_rows_max(spread.count) {
        return Ok(false);
    }
    txn.expect_work(spread.count)?;
    let (mut wanted, mut left) = (count, spread.count);
    let mut pages = Pages::new(Family::Set, spread.place, PAGE_ROWS);
    let mut build = txn.begin_build(key, DataType::Set, spread.count - count);
    let place = build.place();
    let mut row = RowKey::from_slice(&place.prefix());
    while let Some((element, _)) = pages.peek(txn)? {
        // Of those that are left, so many are wanted.
        if txn.rng().below(left.max(1)) < wanted {
            wanted -= 1;
            visit(element.get(POSITION_LEN..).unwrap_or_default());
        } else {
            row.truncate(PLACE_LEN);
            row.extend_from_slice(element);
            txn.build_row(&mut build, key, Family::Set, &row, b"")?;
        }
        left = left.saturating_sub(1);
        pages.advance();
    }
    txn.end_build(build)?;
    let kept = Spread { place, count: spread.count - count, extra: b"" };
    save_spread(txn, key, Some(stored), kept, Form::of(stored))?;
    Ok(true)
}

/// Makes a key a set of these members, whatever it was; none, and it is no more.
fn store(txn: &mut Txn<'_>, key: &Key, members: &[Vec<u8>], form: Form) -> Outcome {
    if members.is_empty() {
        txn.delete(key)?;
        return Ok(());
    }
    txn.expect_work(members.len() as u64)?;
    let members: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
    save(txn, key, &members, form, None)
}

/// Visits every member: an intset in numeric order, a packed set in the order the members came.
pub fn for_each(txn: &mut Txn<'_>, stored: &Stored, mut visit: impl FnMut(&[u8])) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            for member in Packed::decode(bytes)?.iter() {
                visit(member?);
            }
            Ok(())
        }
        Body::Spread(spread) if Form::of(stored) == Form::Intset => {
            let mut numbers = Vec::new();
            walk(txn, spread, |member| numbers.push((parse_i64(member), member.to_vec())))?;
            numbers.sort_unstable();
            numbers.iter().for_each(|(_, member)| visit(member));
            Ok(())
        }
        Body::Spread(spread) => walk(txn, spread, visit),
    }
}

fn walk(txn: &mut Txn<'_>, spread: Spread<'_>, mut visit: impl FnMut(&[u8])) -> Outcome {
    txn.expect_work(spread.count)?;
    positions::walk(txn, Family::Set, spread.place, 0..POSITION_END, |_, member, _| {
        visit(member);
        ControlFlow::Continue(())
    })
}

/// Visits about `rows` members from a cursor on; a packed set whole. Gives the next cursor, 0 at the end.
pub fn page(
    txn: &mut Txn<'_>,
    stored: &Stored,
    cursor: u64,
    rows: u64,
    mut visit: impl FnMut(&[u8]),
) -> Outcome<u64> {
    match stored.body() {
        Body::Whole(_) => for_each(txn, stored, visit).map(|()| 0),
        Body::Spread(spread) => {
            positions::page(txn, Family::Set, spread.place, spread.count, cursor, rows, |member, _| {
                visit(member)
            })
        }
    }
}

/// Picks members, each as likely as any other.
pub fn pick(
    txn: &mut Txn<'_>,
    stored: &Stored,
    picks: Picks,
    mut visit: impl FnMut(&[u8]) -> Outcome,
) -> Outcome {
    match stored.body() {
        Body::Whole(bytes) => {
            let all: Vec<&[u8]> = Packed::decode(bytes)?.iter().collect::<Result<_, _>>()?;
            pick_from(txn, all, picks, |member| visit(member))
        }
        Body::Spread(spread) => pick_rows(txn, Family::Set, spread, picks, |member, _| visit(member)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(old: &[&'static str], form: Form, new: &[&'static str]) -> (Vec<String>, Form) {
        let old = old.iter().map(|member| member.as_bytes()).collect();
        let new: Vec<&[u8]> = new.iter().map(|member| member.as_bytes()).collect();
        let (members, form) = merge(&Tuning::default(), old, form, new.into_iter());
        (members.iter().map(|member| String::from_utf8_lossy(member).into_owned()).collect(), form)
    }

    #[test]
    fn numbers_stay_in_order_until_another_word_comes() {
        let (members, form) = merged(&["-3", "5"], Form::Intset, &["7", "-12", "5", "0"]);
        assert_eq!((members.join(" ").as_str(), form), ("-12 -3 0 5 7", Form::Intset));
        let (members, form) = merged(&["-3", "5"], Form::Intset, &["x", "1"]);
        assert_eq!((members.join(" ").as_str(), form), ("-3 5 x 1", Form::Listpack));
        let (members, form) = merged(&["b", "a"], Form::Listpack, &["a", "01", "c"]);
        assert_eq!((members.join(" ").as_str(), form), ("b a 01 c", Form::Listpack));
    }

    #[test]
    fn forms_climb_at_redis_limits_and_never_come_down() {
        let tuning = Tuning::default();
        let long = [b'x'; 65];
        assert_eq!(Form::new(&tuning, b"1", 512), Form::Intset);
        assert_eq!(Form::new(&tuning, b"1", 513), Form::Hashtable);
        assert_eq!(Form::new(&tuning, b"a", 128), Form::Listpack);
        assert_eq!(Form::Intset.grown(&tuning, b"7", 511, || 1), Form::Intset);
        assert_eq!(Form::Intset.grown(&tuning, b"7", 512, || 1), Form::Hashtable);
        assert_eq!(Form::Intset.grown(&tuning, b"a", 127, || 1), Form::Listpack);
        assert_eq!(Form::Intset.grown(&tuning, b"a", 128, || 1), Form::Hashtable);
        assert_eq!(Form::Listpack.grown(&tuning, &long, 1, || 1), Form::Hashtable);
        assert_eq!(Form::Hashtable.grown(&tuning, b"1", 0, || 1), Form::Hashtable);
        assert_eq!(Form::Listpack.expecting(&tuning, 129), Form::Hashtable);
    }

    #[test]
    fn many_members_merge_as_few_do() {
        let words: Vec<String> = (0..300).map(|n| format!("m{}", n * 7 % 190)).collect();
        let all: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let tuning = Tuning::default();
        let at_once = merge(&tuning, Members::new(), Form::Listpack, all.iter().copied());
        let mut one_by_one = (Members::new(), Form::Listpack);
        for &member in &all {
            one_by_one = merge(&tuning, one_by_one.0, one_by_one.1, [member].into_iter());
        }
        assert_eq!(at_once, one_by_one);
        assert_eq!((at_once.0.len(), at_once.1), (190, Form::Hashtable));
    }
}
