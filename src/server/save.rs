//! SAVE and BGSAVE: a RocksDB checkpoint (hard links and the log's tail) under `<dir>/checkpoints`. No fork, no pause.
//! BGREWRITEAOF: what is only in the log goes to sorted files, and the old logs go.

use super::Shared;
use crate::dispatch::node::Node;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes a checkpoint and removes the oldest beyond `checkpoint-keep`. Waits for the disk.
pub(super) fn checkpoint(node: &Node) -> Result<PathBuf, String> {
    let started_us = node.clock.mono_us();
    let changes = node.keyspace.figures().changes();
    let made = make(node);
    let saves = &node.saves;
    saves.last_failed.store(made.is_err(), Ordering::Relaxed);
    if made.is_ok() {
        saves.last_success_s.store(node.clock.now_ms() / 1000, Ordering::Relaxed);
        saves.changes_at_last.store(changes, Ordering::Relaxed);
        saves.count.fetch_add(1, Ordering::Relaxed);
        saves.last_duration_us.store(node.clock.mono_us() - started_us, Ordering::Relaxed);
    }
    made
}

/// A flag that is lowered whatever becomes of the work it stands for.
struct Lowered<'a>(&'a AtomicBool);

impl Drop for Lowered<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Starts a checkpoint on the pool, unless one is being made.
pub(super) fn start(shared: &Arc<Shared>) {
    if shared.node.saves.in_progress.swap(true, Ordering::AcqRel) {
        return;
    }
    let on_pool = Arc::clone(shared);
    drop(shared.pool.start(move || {
        let _over = Lowered(&on_pool.node.saves.in_progress);
        match checkpoint(&on_pool.node) {
            Ok(path) => tracing::info!(path = %path.display(), "checkpoint made"),
            Err(reason) => tracing::error!(reason, "no checkpoint could be made"),
        }
    }));
}

/// Starts cutting the log on the pool, unless that is being done.
pub(super) fn start_cut(shared: &Arc<Shared>) {
    if shared.node.saves.cutting.swap(true, Ordering::AcqRel) {
        return;
    }
    let on_pool = Arc::clone(shared);
    drop(shared.pool.start(move || {
        let saves = &on_pool.node.saves;
        let _over = Lowered(&saves.cutting);
        let cut = on_pool.node.keyspace.store().flush_memtables();
        saves.cut_failed.store(cut.is_err(), Ordering::Relaxed);
        match cut {
            Ok(()) => {
                saves.cuts.fetch_add(1, Ordering::Relaxed);
                tracing::info!("the log was cut");
            }
            Err(error) => tracing::error!(%error, "the log could not be cut"),
        }
    }));
}

fn make(node: &Node) -> Result<PathBuf, String> {
    let folder = folder_of(node);
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let path = folder.join(format!("{:020}", node.clock.now_us()));
    node.keyspace.store().checkpoint(&path).map_err(|error| error.to_string())?;
    prune(&folder, node.config.checkpoint_keep());
    Ok(path)
}

/// Names are times of fixed width, so the oldest sort first.
fn prune(folder: &Path, keep: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_checkpoint(path)).collect();
    paths.sort();
    let excess = paths.len().saturating_sub(keep.max(1));
    for path in paths.into_iter().take(excess) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "an old checkpoint could not be removed");
        }
    }
}

/// Removes what a kill has left of checkpoints that were being made.
pub(super) fn remove_unfinished(node: &Node) {
    let Ok(entries) = std::fs::read_dir(folder_of(node)) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_unfinished(path)) {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "an unfinished checkpoint was removed"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an unfinished checkpoint could not be removed");
            }
        }
    }
}

fn folder_of(node: &Node) -> PathBuf {
    node.keyspace.store().path().parent().unwrap_or(Path::new(".")).join("checkpoints")
}

fn is_checkpoint(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        name.len() == 20 && name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// RocksDB makes a checkpoint under this name and gives it its own when it is whole.
fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tmp") && is_checkpoint(&path.with_extension(""))
}
