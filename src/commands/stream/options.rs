//! Ids, intervals and trim options as clients write them.

use crate::base::number::parse_i64;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Args;
use crate::types::stream::{Id, References, Threshold, Trim};

/// An id of more bytes is none.
const ID_TEXT_MAX: usize = 127;
/// What a trim with `~` removes at most is so many nodes.
const NODES_TRIMMED_MAX: i64 = 100;

pub(super) const INVALID_ID: &str = "ERR Invalid stream ID specified as stream command argument";

fn invalid<T>() -> Outcome<T> {
    fail(INVALID_ID)
}

/// A number as Redis reads those of ids: blanks and a sign may come before, and all ends with a zero byte.
fn read_number(text: &[u8]) -> Option<u64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let text = &text[blanks..];
    let (is_negative, digits) = match text.split_first() {
        Some((b'+', rest)) => (false, rest),
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0u64, |number, &digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

/// An id read from its text; the sequence may be missing, or `*`.
enum Read {
    Whole(Id),
    NoSequence(u64),
    AnySequence(u64),
}

fn read(text: &[u8]) -> Option<Read> {
    if text.len() > ID_TEXT_MAX {
        return None;
    }
    let end = text.iter().position(|&byte| byte == 0 || byte == b'-').unwrap_or(text.len());
    let ms = read_number(&text[..end])?;
    match text.get(end) {
        Some(b'-') => {}
        _ => return Some(Read::NoSequence(ms)),
    }
    let seq = &text[end + 1..];
    match seq.split(|&byte| byte == 0).next() {
        Some(b"*") => Some(Read::AnySequence(ms)),
        _ => Some(Read::Whole(Id { ms, seq: read_number(seq)? })),
    }
}

/// An id; `missing_seq` is its sequence if it names none.
fn parse_id(text: &[u8], missing_seq: u64) -> Outcome<Id> {
    match read(text) {
        Some(Read::Whole(id)) => Ok(id),
        Some(Read::NoSequence(ms)) => Ok(Id { ms, seq: missing_seq }),
        _ => invalid(),
    }
}

/// An id, but neither `-` nor `+`. A missing sequence is 0.
pub(super) fn parse_strict(text: &[u8]) -> Outcome<Id> {
    parse_id(text, 0)
}

/// An id, or `-` or `+` for the ends.
pub(super) fn parse_with_ends(text: &[u8], missing_seq: u64) -> Outcome<Id> {
    match text {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => parse_id(text, missing_seq),
    }
}

/// Two ids, both included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Id,
    pub(super) to: Id,
}

/// An interval whose ends may be excluded by `(`.
pub(super) fn parse_interval(start: &[u8], end: &[u8]) -> Outcome<Interval> {
    let bound = |text: &[u8], missing_seq| match text {
        [b'(', rest @ ..] if !rest.is_empty() => Ok((true, parse_id(rest, missing_seq)?)),
        _ => Ok::<_, crate::keyspace::Stop>((false, parse_with_ends(text, missing_seq)?)),
    };
    let from = match bound(start, 0)? {
        (true, id) => match id.next() {
            Some(next) => next,
            None => return fail("ERR invalid start ID for the interval"),
        },
        (false, id) => id,
    };
    let to = match bound(end, u64::MAX)? {
        (true, id) => match id.previous() {
            Some(before) => before,
            None => return fail("ERR invalid end ID for the interval"),
        },
        (false, id) => id,
    };
    Ok(Interval { from, to })
}

/// The id XADD is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddId {
    /// `*`
    Auto,
    /// `ms-*`
    Millisecond(u64),
    /// Just this.
    Given(Id),
}

/// What XADD was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Add {
    pub(super) id: AddId,
    /// A missing stream is made.
    pub(super) makes_stream: bool,
    pub(super) trim: Option<Trim>,
    /// The argument at which fields and values begin.
    pub(super) fields_at: usize,
}

/// The options of XADD up to its id.
pub(super) fn parse_add(args: Args<'_>, node_entries_max: i64) -> Outcome<Add> {
    let mut options = Options::default();
    let mut at = 2;
    while let Some(word) = args.get(at) {
        if word == b"*" {
            let trim = options.finish(node_entries_max)?;
            let makes_stream = options.makes_stream();
            return Ok(Add { id: AddId::Auto, makes_stream, trim, fields_at: at + 1 });
        }
        if let Some(next) = options.read(args, at)? {
            at = next;
            continue;
        }
        if word.eq_ignore_ascii_case(b"nomkstream") {
            options.no_mkstream = true;
            at += 1;
            continue;
        }
        let id = match read(word) {
            Some(Read::Whole(id)) => AddId::Given(id),
            Some(Read::NoSequence(ms)) => AddId::Given(Id { ms, seq: 0 }),
            Some(Read::AnySequence(ms)) => AddId::Millisecond(ms),
            None => return invalid(),
        };
        let trim = options.finish(node_entries_max)?;
        return Ok(Add { id, makes_stream: options.makes_stream(), trim, fields_at: at + 1 });
    }
    // No id at all: as Redis has it, the options are looked at first.
    options.finish(node_entries_max)?;
    Err(Error::Arity("xadd".into()).into())
}

/// The options of XTRIM.
pub(super) fn parse_trim(args: Args<'_>, node_entries_max: i64) -> Outcome<Trim> {
    let mut options = Options::default();
    let mut at = 2;
    while at < args.len() {
        match options.read(args, at)? {
            Some(next) => at = next,
            None => return Err(Error::Syntax.into()),
        }
    }
    match options.finish(node_entries_max)? {
        Some(trim) => Ok(trim),
        None => fail("ERR syntax error, XTRIM must be called with a trimming strategy"),
    }
}

/// The trim options read so far.
#[derive(Default)]
struct Options {
    threshold: Option<Threshold>,
    is_approximate: bool,
    limit: Option<i64>,
    references: Option<References>,
    no_mkstream: bool,
}

impl Options {
    fn makes_stream(&self) -> bool {
        !self.no_mkstream
    }

    /// Reads an option of trimming, if there is one; gives where the next begins.
    fn read(&mut self, args: Args<'_>, at: usize) -> Outcome<Option<usize>> {
        let word = args.at(at);
        let has_more = at + 1 < args.len();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if has_more && (is("maxlen") || is("minid")) {
            if self.threshold.is_some() {
                return fail(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                );
            }
            let mut at = at + 1;
            self.is_approximate = false;
            if at + 1 < args.len() && matches!(args.at(at), b"~" | b"=") {
                self.is_approximate = args.at(at) == b"~";
                at += 1;
            }
            self.threshold = Some(if is("maxlen") {
                match u64::try_from(parse_i64(args.at(at)).ok_or(Error::NotInteger)?) {
                    Ok(len) => Threshold::MaxLen(len),
                    Err(_) => return fail("ERR The MAXLEN argument must be >= 0."),
                }
            } else {
                Threshold::MinId(parse_strict(args.at(at))?)
            });
            return Ok(Some(at + 1));
        }
        if has_more && is("limit") {
            let limit = parse_i64(args.at(at + 1)).ok_or(Error::NotInteger)?;
            if limit < 0 {
                return fail("ERR The LIMIT argument must be >= 0.");
            }
            self.limit = Some(limit);
            return Ok(Some(at + 2));
        }
        if self.references.is_none()
            && let Some(references) = parse_references(word)
        {
            self.references = Some(references);
            return Ok(Some(at + 1));
        }
        Ok(None)
    }

    /// All options have been read.
    fn finish(&self, node_entries_max: i64) -> Outcome<Option<Trim>> {
        let Some(threshold) = self.threshold else {
            if self.limit.is_some_and(|limit| limit != 0) {
                return fail("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
            }
            if self.limit.is_some() {
                return fail("ERR syntax error, LIMIT cannot be used without the special ~ option");
            }
            return Ok(None);
        };
        let entries_max = match self.limit {
            Some(_) if !self.is_approximate => {
                return fail("ERR syntax error, LIMIT cannot be used without the special ~ option");
            }
            Some(limit) => limit,
            None if self.is_approximate => match node_entries_max.saturating_mul(NODES_TRIMMED_MAX) {
                ..=0 => 10_000,
                entries => entries.min(1_000_000),
            },
            None => 0,
        };
        Ok(Some(Trim {
            threshold,
            is_approximate: self.is_approximate,
            entries_max: entries_max as u64,
            references: self.references.unwrap_or_default(),
        }))
    }
}

/// KEEPREF, DELREF or ACKED.
pub(super) fn parse_references(word: &[u8]) -> Option<References> {
    match word {
        word if word.eq_ignore_ascii_case(b"keepref") => Some(References::Keep),
        word if word.eq_ignore_ascii_case(b"delref") => Some(References::Delete),
        word if word.eq_ignore_ascii_case(b"acked") => Some(References::Acked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn text(stop: Stop) -> String {
        match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn id(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let strict = |text: &str| parse_strict(text.as_bytes()).ok();
        assert_eq!(strict("5-7"), Some(id(5, 7)));
        assert_eq!(strict("5"), Some(id(5, 0)));
        assert_eq!(strict("18446744073709551615-18446744073709551615"), Some(Id::MAX));
        assert_eq!(strict("+5- 007"), Some(id(5, 7)));
        assert_eq!(strict("5\0x"), Some(id(5, 0)));
        let long = format!("{}1", "0".repeat(127));
        for bad in ["", "-", "+", "5-", "-5", "5-x", "5-*", "18446744073709551616", "1-2-3", &long] {
            assert_eq!(strict(bad), None, "{bad}");
        }
    }

    #[test]
    fn intervals_exclude_with_a_bracket() {
        let interval = |start: &str, end: &str| {
            parse_interval(start.as_bytes(), end.as_bytes())
                .map(|interval| (interval.from, interval.to))
                .map_err(text)
        };
        assert_eq!(interval("-", "+"), Ok((Id::MIN, Id::MAX)));
        assert_eq!(interval("1", "2"), Ok((id(1, 0), id(2, u64::MAX))));
        assert_eq!(interval("(1", "(2-0"), Ok((id(1, 1), id(1, u64::MAX))));
        assert_eq!(
            interval("(18446744073709551615-18446744073709551615", "+").unwrap_err(),
            "ERR invalid start ID for the interval"
        );
        assert_eq!(interval("-", "(0-0").unwrap_err(), "ERR invalid end ID for the interval");
        assert_eq!(interval("(-", "+").unwrap_err(), INVALID_ID);
        assert_eq!(interval("(", "+").unwrap_err(), INVALID_ID);
    }

    fn add(line: &str) -> Result<Add, String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_add(OwnedArgs::from_slices(&words).args(), 100).map_err(text)
    }

    #[test]
    fn an_xadd_is_read_up_to_its_id() {
        let plain = Add { id: AddId::Auto, makes_stream: true, trim: None, fields_at: 3 };
        assert_eq!(add("XADD s * f v"), Ok(plain));
        let trim = Trim {
            threshold: Threshold::MaxLen(7),
            is_approximate: true,
            entries_max: 10_000,
            references: References::Acked,
        };
        let full = Add { id: AddId::Millisecond(5), makes_stream: false, trim: Some(trim), fields_at: 8 };
        assert_eq!(add("XADD s nomkstream ACKED maxlen ~ 7 5-* f v"), Ok(full));
        assert_eq!(add("XADD s KEEPREF DELREF * f v"), Err(INVALID_ID.into()));
        assert_eq!(
            add("XADD s MAXLEN 3 LIMIT 4 * f v").unwrap_err(),
            "ERR syntax error, LIMIT cannot be used without the special ~ option"
        );
        assert_eq!(add("XADD s MAXLEN 3"), Err("ERR wrong number of arguments for 'xadd' command".into()));
    }
}
