//! `pidfile`: a file with the process id, there as long as the server runs.
//!
//! It is written once the server has its data folder for itself, so a second server on the folder leaves the first one's
//! alone. A file that cannot be written is no reason not to serve. After a crash the old file stays, and the next start
//! replaces it.

use crate::config::Config;
use std::path::PathBuf;

/// The file; dropping this removes it.
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file if one is configured. A relative path is in the data folder.
    pub fn write(config: &Config) -> Option<PidFile> {
        let name = config.pidfile();
        if name.is_empty() {
            return None;
        }
        let path = config.dir().join(name.as_str());
        match std::fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(PidFile { path }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the pid file cannot be written");
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the pid file cannot be removed");
        }
    }
}
