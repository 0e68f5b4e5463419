//! File descriptors: how many the system grants, and how clients and RocksDB's files share them.
//!
//! At the start the soft limit is raised to the hard one. A part is kept back for the server itself; half of what `maxclients`
//! leaves goes to table files (at least a few hundred), the other half is room for CONFIG SET maxclients. Where the limit is too
//! low for `maxclients`, that shrinks, as in Redis. Files beyond RocksDB's share are closed and opened again as they are used.

use super::StartError;
use crate::config::Config;

/// For sockets that listen, runtimes, logs, the log's file, and table files in use beyond RocksDB's share.
const RESERVE: u64 = 256;
/// RocksDB's share, however many clients are asked for.
const FILES_MIN: u64 = 256;
/// The same where there are few descriptors altogether: RocksDB itself asks for no less.
const FILES_LEAST: u64 = 20;
/// More are not asked for: some systems have no bound to speak of.
const LIMIT_MAX: u64 = 1 << 20;

/// How the descriptors are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    /// Table files that RocksDB keeps open.
    files: u64,
    /// Clients there can be.
    clients_max: u64,
}

/// Raises the limit, bounds `maxclients` by it, and tells how many files RocksDB may keep open.
pub(super) fn share_out(config: &Config) -> Result<i32, StartError> {
    let wanted = config.maxclients() as u64;
    let limit = match rlimit::increase_nofile_limit(LIMIT_MAX.max(wanted + RESERVE + FILES_MIN)) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!("the limit of file descriptors cannot be read or raised: {error}");
            1024
        }
    };
    let Some(shares) = shares(limit, wanted) else {
        let least = RESERVE + FILES_LEAST + wanted;
        return Err(StartError::new(
            "sharing out file descriptors",
            format!(
                "Your current 'ulimit -n' of {limit} is not enough for the server to start. Please increase your open file \
                 limit to at least {least}."
            ),
        ));
    };
    if shares.clients_max < wanted {
        tracing::warn!(
            "You requested maxclients of {wanted} requiring at least {} max file descriptors. Current maximum open files \
             is {limit}. maxclients has been reduced to {} to compensate for low ulimit. If you need higher maxclients \
             increase 'ulimit -n'.",
            wanted + RESERVE + FILES_MIN,
            shares.clients_max
        );
    }
    config.bound_clients(shares.clients_max);
    Ok(i32::try_from(shares.files).unwrap_or(i32::MAX))
}

/// Nothing when the limit leaves no room for a single client.
fn shares(limit: u64, wanted: u64) -> Option<Shares> {
    let free = limit.checked_sub(RESERVE)?;
    let files_least = FILES_MIN.min(free / 4).max(FILES_LEAST);
    let files = (free.saturating_sub(wanted) / 2).max(files_least);
    let clients_max = free.checked_sub(files).filter(|&clients| clients > 0)?;
    Some(Shares { files, clients_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_they_ask_for_and_files_half_of_the_rest() {
        assert_eq!(shares(20_256, 10_000), Some(Shares { files: 5_000, clients_max: 15_000 }));
        assert_eq!(shares(1 << 20, 10_000).map(|shares| shares.files), Some(519_160));
    }

    #[test]
    fn a_low_limit_shrinks_the_clients_and_the_lowest_none_can_live_with() {
        assert_eq!(shares(4096, 10_000), Some(Shares { files: 256, clients_max: 3_584 }));
        assert_eq!(shares(700, 10_000), Some(Shares { files: 111, clients_max: 333 }));
        assert_eq!(shares(277, 10_000), Some(Shares { files: 20, clients_max: 1 }));
        assert_eq!(shares(276, 1), None);
        assert_eq!(shares(20, 1), None);
    }

    #[test]
    fn nobody_gets_more_than_there_is() {
        for limit in (0..30_000).step_by(37) {
            for wanted in [1, 100, 10_000, u64::from(u32::MAX)] {
                if let Some(shares) = shares(limit, wanted) {
                    assert!(shares.files >= FILES_LEAST && shares.clients_max >= 1);
                    assert_eq!(shares.files + shares.clients_max + RESERVE, limit);
                }
            }
        }
    }
}
