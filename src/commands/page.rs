//! The options of SSCAN and ZSCAN.

use crate::base::number::parse_i64;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Args;

/// What a page was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageOptions<'a> {
    /// About so many elements.
    pub(super) rows: u64,
    /// None: every element.
    pub(super) pattern: Option<&'a [u8]>,
}

impl PageOptions<'_> {
    /// Reads MATCH and COUNT; `rows` is what COUNT is when it is not given.
    pub(super) fn read(args: Args<'_>, rows: u64) -> Outcome<PageOptions<'_>> {
        let mut options = PageOptions { rows, pattern: None };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"novalues") {
                return fail("ERR NOVALUES option can only be used in HSCAN");
            }
            let Some(value) = words.next() else { return Err(Error::Syntax.into()) };
            if word.eq_ignore_ascii_case(b"count") {
                let rows = parse_i64(value).ok_or(Error::NotInteger)?;
                options.rows = u64::try_from(rows).ok().filter(|&rows| rows > 0).ok_or(Error::Syntax)?;
            } else if word.eq_ignore_ascii_case(b"match") {
                options.pattern = (value != b"*").then_some(value);
            } else {
                return Err(Error::Syntax.into());
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn args(line: &str) -> OwnedArgs {
        OwnedArgs::from_slices(&line.split_whitespace().map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_repeat_and_star_matches_everything() {
        let line = args("MATCH * count 7 MATCH a* COUNT 9");
        let options = PageOptions::read(line.args(), 10).ok();
        assert_eq!(options, Some(PageOptions { rows: 9, pattern: Some(b"a*") }));
        for wrong in ["COUNT", "COUNT 0", "COUNT x", "MATCH", "TYPE zset", "NOVALUES"] {
            assert!(PageOptions::read(args(wrong).args(), 10).is_err(), "{wrong}");
        }
    }
}
