//! Members picked by chance.

use super::for_each;
use crate::keyspace::{Outcome, Stored, Txn};
use crate::types::hash::Picks;

/// Picks members, each as likely as any other, and shows them with their scores to `visit`.
pub fn pick(
    txn: &mut Txn<'_>,
    stored: &Stored,
    picks: Picks,
    mut visit: impl FnMut(&[u8], f64) -> Outcome,
) -> Outcome {
    let mut all = Vec::new();
    for_each(txn, stored, |member, score| all.push((score, member.to_vec())))?;
    let (Picks::Any(count) | Picks::Distinct(count)) = picks;
    txn.expect_work(count)?;
    let mut done = 0;
    while done < count && !all.is_empty() {
        let at = txn.rng().below(all.len() as u64) as usize;
        let (score, member) = if let Picks::Any(_) = picks { all[at].clone() } else { all.swap_remove(at) };
        visit(&member, score)?;
        done += 1;
    }
    Ok(())
}
