//! What can be done to a key whatever its type: expiry, a new name, another database.
//!
//! RENAME and MOVE are O(1): the head is saved under the new key with the same body and the old key is deleted. A spread value's
//! rows stay where they are, for the head carries their place; the commit sees that the place lives on and removes nothing.
//!
//! Locks: every key named here is a key of the command's spec, so it is locked. The stripe of a key depends on its name only,
//! so the same name in another database is locked with it.

use crate::keyspace::{Error, Key, NewHead, Outcome, Stored, Txn};

/// When EXPIRE and its kin may change an expiry (NX, XX, GT, LT). None set: always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpireCondition {
    /// Only if the key has no expiry.
    pub none_yet: bool,
    /// Only if it has one.
    pub has_one: bool,
    /// Only if the new one is later; no expiry counts as never.
    pub later: bool,
    /// Only if the new one is earlier; no expiry counts as never.
    pub earlier: bool,
}

impl ExpireCondition {
    /// Whether an expiry may go from `current_ms` to `wanted_ms` (unix milliseconds).
    pub fn allows(&self, current_ms: Option<i64>, wanted_ms: i64) -> bool {
        let refused = match current_ms {
            None => self.has_one || self.later,
            Some(current_ms) => {
                self.none_yet
                    || (self.later && wanted_ms <= current_ms)
                    || (self.earlier && wanted_ms >= current_ms)
            }
        };
        !refused
    }
}

/// Lets a key end at `at_ms` (unix milliseconds; negative is before 1970). A time that is not in the future deletes the key.
/// False when there is no such key or the condition does not hold.
pub fn expire(txn: &mut Txn<'_>, key: &Key, at_ms: i64, condition: ExpireCondition) -> Outcome<bool> {
    let Some(stored) = txn.load(key)? else { return Ok(false) };
    if !condition.allows(expires_at(&stored), at_ms) {
        return Ok(false);
    }
    match u64::try_from(at_ms) {
        Ok(at_ms) if at_ms > txn.now_ms() => txn.set_expiry(key, &stored, Some(at_ms))?,
        _ => {
            txn.delete(key)?;
        }
    }
    Ok(true)
}

/// When a key ends, unix milliseconds, in the signed form of Redis' replies.
pub fn expires_at(stored: &Stored) -> Option<i64> {
    stored.expires_at_ms().map(|at_ms| i64::try_from(at_ms).unwrap_or(i64::MAX))
}

/// Takes a key's expiry away. False when there is no such key or it has none.
pub fn persist(txn: &mut Txn<'_>, key: &Key) -> Outcome<bool> {
    match txn.load(key)? {
        Some(stored) if stored.expires_at_ms().is_some() => {
            txn.set_expiry(key, &stored, None)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Gives a value another key, its expiry kept, in place of what was there (or, with `only_if_absent`, only if nothing was:
/// then false). Fails when there is no such key.
pub fn rename(txn: &mut Txn<'_>, from: &Key, to: &Key, only_if_absent: bool) -> Outcome<bool> {
    let Some(stored) = txn.load(from)? else { return Err(Error::NoSuchKey.into()) };
    if from.row() == to.row() {
        return Ok(!only_if_absent);
    }
    if only_if_absent && txn.load(to)?.is_some() {
        return Ok(false);
    }
    txn.note_replaced(to)?;
    relocate(txn, &stored, from, to)?;
    Ok(true)
}

/// Gives a key to another database. False when there is no such key here, or there is one there.
pub fn move_key(txn: &mut Txn<'_>, from: &Key, to: &Key) -> Outcome<bool> {
    let Some(stored) = txn.load(from)? else { return Ok(false) };
    if txn.load(to)?.is_some() {
        return Ok(false);
    }
    relocate(txn, &stored, from, to)?;
    Ok(true)
}

/// Saves the head under the new key and removes the old; the rows of a spread value stay in their place.
fn relocate(txn: &mut Txn<'_>, stored: &Stored, from: &Key, to: &Key) -> Outcome {
    let head = NewHead::new(stored.data_type(), stored.body()).noted(stored.note());
    txn.save(to, head.expiring(stored.expires_at_ms()))?;
    txn.delete(from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NX: ExpireCondition =
        ExpireCondition { none_yet: true, has_one: false, later: false, earlier: false };
    const XX: ExpireCondition =
        ExpireCondition { none_yet: false, has_one: true, later: false, earlier: false };
    const GT: ExpireCondition =
        ExpireCondition { none_yet: false, has_one: false, later: true, earlier: false };
    const LT: ExpireCondition =
        ExpireCondition { none_yet: false, has_one: false, later: false, earlier: true };

    #[test]
    fn without_a_condition_every_expiry_may_change() {
        let always = ExpireCondition::default();
        assert!(always.allows(None, 5) && always.allows(Some(5), 5) && always.allows(Some(5), -1));
    }

    #[test]
    fn nx_and_xx_ask_whether_there_is_an_expiry() {
        assert!(NX.allows(None, 5) && !NX.allows(Some(9), 5));
        assert!(!XX.allows(None, 5) && XX.allows(Some(9), 5));
    }

    #[test]
    fn gt_and_lt_take_no_expiry_as_never() {
        assert!(!GT.allows(None, i64::MAX) && !GT.allows(Some(5), 5) && GT.allows(Some(5), 6));
        assert!(LT.allows(None, i64::MAX) && !LT.allows(Some(5), 5) && LT.allows(Some(5), 4));
    }

    #[test]
    fn xx_goes_together_with_gt_and_lt() {
        let xx_lt = ExpireCondition { has_one: true, ..LT };
        assert!(!xx_lt.allows(None, 5) && xx_lt.allows(Some(6), 5) && !xx_lt.allows(Some(5), 6));
    }
}
