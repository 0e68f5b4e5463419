//! `supervised`: tells systemd when the server serves and when it ends.

use crate::config::Config;
use sd_notify::NotifyState;

/// Clients can come.
pub fn tell_ready(config: &Config) {
    tell(config, NotifyState::Ready);
}

/// It ends.
pub fn tell_stopping(config: &Config) {
    tell(config, NotifyState::Stopping);
}

fn tell(config: &Config, state: NotifyState<'_>) {
    if !config.is_supervised() {
        return;
    }
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        tracing::warn!("supervised systemd: there is no NOTIFY_SOCKET, so nobody can be told");
    } else if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
