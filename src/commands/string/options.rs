//! The options of SET and GETEX: conditions, GET, and when the key is to end.

use crate::base::number::parse_i64;
use crate::keyspace::{Error, Outcome};
use crate::resp::Args;
use std::borrow::Cow;

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMilliseconds,
}

/// What becomes of the key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime<'a> {
    /// Nothing was said.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// A time, still as text.
    Given(Unit, &'a [u8]),
}

/// Whose options are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// SET: conditions, GET, KEEPTTL.
    Set,
    /// GETEX: PERSIST.
    Getex,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// NX.
    pub(super) if_missing: bool,
    /// XX.
    pub(super) if_present: bool,
    /// GET.
    pub(super) get: bool,
    /// The rest.
    pub(super) lifetime: Lifetime<'a>,
}

/// Reads the options. One may come twice; those that exclude each other are a syntax error.
pub(super) fn parse(args: Args<'_>, of: Of) -> Outcome<Options<'_>> {
    let mut options =
        Options { if_missing: false, if_present: false, get: false, lifetime: Lifetime::Unsaid };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if of == Of::Set && is(b"nx") && !options.if_present {
            options.if_missing = true;
        } else if of == Of::Set && is(b"xx") && !options.if_missing {
            options.if_present = true;
        } else if of == Of::Set && is(b"get") {
            options.get = true;
        } else {
            let lifetime = if of == Of::Set && is(b"keepttl") {
                Lifetime::Keep
            } else if of == Of::Getex && is(b"persist") {
                Lifetime::Persist
            } else {
                let unit = unit_of(word).ok_or(Error::Syntax)?;
                Lifetime::Given(unit, words.next().ok_or(Error::Syntax)?)
            };
            if !goes_with(options.lifetime, lifetime) {
                return Err(Error::Syntax.into());
            }
            options.lifetime = lifetime;
        }
    }
    Ok(options)
}

fn unit_of(word: &[u8]) -> Option<Unit> {
    [
        (&b"ex"[..], Unit::Seconds),
        (b"px", Unit::Milliseconds),
        (b"exat", Unit::UnixSeconds),
        (b"pxat", Unit::UnixMilliseconds),
    ]
    .into_iter()
    .find(|(name, _)| word.eq_ignore_ascii_case(name))
    .map(|(_, unit)| unit)
}

/// Whether a second word about the lifetime may follow the first: only one of the same kind.
fn goes_with(first: Lifetime<'_>, second: Lifetime<'_>) -> bool {
    match (first, second) {
        (Lifetime::Unsaid, _) => true,
        (Lifetime::Given(first, _), Lifetime::Given(second, _)) => first == second,
        (first, second) => first == second,
    }
}

/// The time a key is to end, unix milliseconds. It must be positive, but may be past.
pub(super) fn deadline_ms(unit: Unit, text: &[u8], now_ms: u64, command: &str) -> Outcome<u64> {
    let given = parse_i64(text).ok_or(Error::NotInteger)?;
    let scaled = match unit {
        Unit::Seconds | Unit::UnixSeconds => given.checked_mul(1000),
        Unit::Milliseconds | Unit::UnixMilliseconds => Some(given),
    };
    let at_ms = match unit {
        Unit::Seconds | Unit::Milliseconds => {
            scaled.filter(|&ms| ms > 0).and_then(|ms| ms.checked_add(i64::try_from(now_ms).ok()?))
        }
        Unit::UnixSeconds | Unit::UnixMilliseconds => scaled,
    };
    match at_ms.map(u64::try_from) {
        Some(Ok(at_ms)) if at_ms > 0 => Ok(at_ms),
        _ => Err(Error::Text(Cow::Owned(format!("ERR invalid expire time in '{command}' command"))).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn read(line: &str, of: Of) -> Option<(bool, bool, bool, String)> {
        let words: Vec<_> = line.split_whitespace().map(str::as_bytes).collect();
        let owned = OwnedArgs::from_slices(&words);
        let options = parse(owned.args(), of).ok()?;
        let lifetime = match options.lifetime {
            Lifetime::Given(unit, text) => format!("{unit:?} {}", String::from_utf8_lossy(text)),
            other => format!("{other:?}"),
        };
        Some((options.if_missing, options.if_present, options.get, lifetime))
    }

    #[test]
    fn options_come_in_any_order_and_case() {
        assert_eq!(read("eX 5 gEt nx", Of::Set), Some((true, false, true, "Seconds 5".into())));
        assert_eq!(read("XX PXAT 7", Of::Set), Some((false, true, false, "UnixMilliseconds 7".into())));
        assert_eq!(read("persist", Of::Getex), Some((false, false, false, "Persist".into())));
    }

    #[test]
    fn only_the_same_option_may_come_twice() {
        assert_eq!(read("EX 1 EX 2", Of::Set), Some((false, false, false, "Seconds 2".into())));
        assert!(read("KEEPTTL KEEPTTL", Of::Set).is_some());
        for wrong in ["EX 1 PX 1", "EX 1 KEEPTTL", "KEEPTTL EX 1", "NX XX", "XX NX", "EX", "PERSIST", "FOO"] {
            assert_eq!(read(wrong, Of::Set), None, "{wrong}");
        }
        for wrong in ["NX", "GET", "KEEPTTL", "EX 1 PERSIST", "PERSIST PX 1"] {
            assert_eq!(read(wrong, Of::Getex), None, "{wrong}");
        }
    }

    #[test]
    fn deadlines_are_positive_and_fit_64_bits() {
        let at = |unit, text: &str| deadline_ms(unit, text.as_bytes(), 1000, "set").ok();
        assert_eq!(at(Unit::Seconds, "2"), Some(3000));
        assert_eq!(at(Unit::Milliseconds, "2"), Some(1002));
        assert_eq!(at(Unit::UnixSeconds, "2"), Some(2000));
        assert_eq!(at(Unit::UnixMilliseconds, "2"), Some(2));
        for text in ["0", "-1", "9223372036854775807", "x"] {
            assert_eq!(at(Unit::Seconds, text), None, "{text}");
        }
        assert_eq!(at(Unit::Milliseconds, "9223372036854775807"), None);
        assert_eq!(at(Unit::Milliseconds, "-500"), None);
    }
}
