//! What commands that wait have in common: the timeout (seconds, perhaps with a fraction, to the moment at which the wait ends), and the
//! wait for the first of some keys to have something.

use crate::base::longdouble::LongDouble;
use crate::dispatch::Call;
use crate::encoding::head::DataType;
use crate::keyspace::{Outcome, Stop, TimeoutReply, Wait, fail};
use crate::resp::Reply;
use std::ops::Range;

/// When a wait of so many seconds ends, unix milliseconds; none for never.
pub(super) fn wait_deadline_ms(timeout: &[u8], now_ms: u64) -> Outcome<Option<u64>> {
    let Some(seconds) = LongDouble::parse(timeout) else {
        return fail("ERR timeout is not a float or out of range");
    };
    let wait_ms = (seconds.to_f64() * 1000.0).ceil();
    if wait_ms >= i64::MAX as f64 {
        return fail("ERR timeout is out of range");
    }
    if wait_ms < 0.0 {
        return fail("ERR timeout is negative");
    }
    if wait_ms == 0.0 {
        return Ok(None);
    }
    // The clock is cut to whole milliseconds: with one more none ends early.
    match (wait_ms as u64).checked_add(now_ms + 1).filter(|&at_ms| i64::try_from(at_ms).is_ok()) {
        Some(at_ms) => Ok(Some(at_ms)),
        None => fail("ERR timeout is out of range"),
    }
}

/// None of these keys has anything: wait for one to be of this type, or answer a null array where one cannot wait.
pub(super) fn wait_or_null_array(
    call: &Call<'_>,
    reply: &mut Reply<'_>,
    wants: DataType,
    keys: Range<usize>,
    deadline_ms: Option<u64>,
) -> Outcome {
    if call.in_exec {
        reply.null_array();
        return Ok(());
    }
    Err(Stop::Wait(Wait::to_take(wants, deadline_ms, TimeoutReply::NullArray, keys.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_after_its_seconds_rounded_up_to_milliseconds() {
        let at = |timeout: &str| {
            wait_deadline_ms(timeout.as_bytes(), 1000).map_err(|stop| match stop {
                Stop::Error(error) => error.to_string(),
                other => format!("{other:?}"),
            })
        };
        assert_eq!(at("0"), Ok(None));
        assert_eq!(at("0.0001"), Ok(Some(1002)));
        assert_eq!(at("2.5"), Ok(Some(3501)));
        assert_eq!(at("-0.5"), Err("ERR timeout is negative".into()));
        assert_eq!(at("-inf"), Err("ERR timeout is negative".into()));
        assert_eq!(at("1e100"), Err("ERR timeout is out of range".into()));
        assert_eq!(at("9223372036854775.807"), Err("ERR timeout is out of range".into()));
        assert_eq!(at("nan"), Err("ERR timeout is not a float or out of range".into()));
    }
}
