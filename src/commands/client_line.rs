//! One connection as CLIENT LIST and CLIENT INFO show it: Redis' fields, in Redis' order.
//!
//! What we do not have is told as what Redis tells of it when it is not in use: no redirection (`redir`), no I/O thread. The
//! reply list (`oll omem`) is what waits to be sent unasked. The query buffer (`qbuf qbuf-free`) is shown as the last burst has left it, and the
//! fixed reply buffer (`rbs rbp`) does not exist: what waits to be sent is `obl`.

use crate::pubsub::Kind;
use crate::session::{BROADCASTS, ClientInfo, ClientKind, TRACKS};
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

/// What a connection is running while it is described; known of the one that asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    /// The command's whole name.
    pub(super) command: &'static str,
    /// Bytes of its words.
    pub(super) bytes: usize,
}

/// Appends a connection's line.
pub(super) fn write_line(out: &mut Vec<u8>, client: &ClientInfo, now_ms: u64, running: Option<Running>) {
    let labels = client.labels.lock().clone();
    let age_s = now_ms.saturating_sub(client.created_ms) / 1000;
    let idle_s = now_ms.saturating_sub(client.active_ms.load(Relaxed)) / 1000;
    let queued = client.queued.load(Relaxed) as i64 - 1;
    let last = if labels.command.is_empty() { "NULL" } else { labels.command };
    let Running { command, bytes: argument_bytes } = running.unwrap_or(Running { command: last, bytes: 0 });
    // Writing to memory cannot fail.
    let _ = write!(out, "id={} addr={} laddr={}", client.id, client.address, client.local_address);
    let _ = write!(out, " fd={} name=", client.descriptor);
    out.extend_from_slice(&labels.name);
    let _ = write!(out, " age={age_s} idle={idle_s} flags={}", flags(client));
    let [sub, psub, ssub] =
        [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| client.subscriptions(kind));
    let _ = write!(out, " db={} sub={sub} psub={psub} ssub={ssub}", client.database.load(Relaxed));
    let _ = write!(out, " multi={queued} watch={}", client.watched.load(Relaxed));
    let unread = client.unread_bytes.load(Relaxed);
    let free = client.query_bytes.load(Relaxed).saturating_sub(unread);
    let _ = write!(out, " qbuf={unread} qbuf-free={free}");
    let _ = write!(out, " argv-mem={argument_bytes} multi-mem={}", client.queued_bytes.load(Relaxed));
    let (messages, bytes) = client.outbox().map_or((0, 0), |outbox| (outbox.len(), outbox.bytes()));
    let obl = client.output_bytes.load(Relaxed);
    let _ = write!(out, " rbs=0 rbp=0 obl={obl} oll={messages} omem={bytes}");
    let _ = write!(out, " tot-mem={} events=r cmd={command}", client.bytes());
    let (redirect, proto) = (client.redirect.load(Relaxed), client.protocol.load(Relaxed));
    let _ = write!(out, " user=default redir={redirect} resp={proto} lib-name=");
    out.extend_from_slice(&labels.lib_name);
    out.extend_from_slice(b" lib-ver=");
    out.extend_from_slice(&labels.lib_version);
    let _ = write!(out, " io-thread=0 tot-net-in={}", client.received_bytes.load(Relaxed));
    let _ = write!(out, " tot-net-out={}", client.sent_bytes.load(Relaxed));
    let _ = writeln!(out, " tot-cmds={}", client.commands.load(Relaxed));
}

/// The letters of a connection's state, in Redis' order; N when there are none.
fn flags(client: &ClientInfo) -> String {
    let tracking = client.tracking.load(Relaxed);
    let letters = [
        ('O', client.monitors.load(Relaxed)),
        ('P', client.kind() == ClientKind::PubSub),
        ('x', client.queued.load(Relaxed) > 0),
        ('b', client.is_blocked()),
        ('t', tracking & TRACKS != 0),
        ('R', client.redirect_broken.load(Relaxed)),
        ('B', tracking & BROADCASTS != 0),
        ('A', client.is_ended()),
        ('e', client.no_evict.load(Relaxed)),
        ('T', client.no_touch.load(Relaxed)),
    ];
    let set: String = letters.iter().filter(|(_, is_set)| *is_set).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::session::Clients;

    #[test]
    fn a_line_has_every_field_in_redis_order() {
        let clock = Clock::manual(1_000_000);
        let clients = Clients::new(clock.clone());
        let address = |text: &str| text.parse().unwrap();
        let client = clients.add(address("127.0.0.1:5001"), address("[::1]:6379"), 13);
        client.labels.lock().name = (*b"me").into();
        client.labels.lock().command = "get";
        client.active_ms.store(1_001_000, Relaxed);
        let mut line = Vec::new();
        write_line(&mut line, &client, 1_003_900, Some(Running { command: "client|list", bytes: 10 }));
        let expected = format!(
            "id=1 addr=127.0.0.1:5001 laddr=[::1]:6379 fd=13 name=me age=3 idle=2 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 \
             watch=0 qbuf=0 qbuf-free=0 argv-mem=10 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r \
             cmd=client|list user=default redir=-1 resp=2 lib-name= lib-ver= io-thread=0 tot-net-in=0 tot-net-out=0 \
             tot-cmds=0\n",
            client.bytes()
        );
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }

    #[test]
    fn flags_stand_in_redis_order() {
        let clients = Clients::new(Clock::manual(0));
        let address = "127.0.0.1:1".parse().unwrap();
        let client = clients.add(address, address, 1);
        assert_eq!(flags(&client), "N");
        client.queued.store(1, Relaxed);
        client.no_evict.store(true, Relaxed);
        client.no_touch.store(true, Relaxed);
        assert_eq!(flags(&client), "xeT");
        let mut line = Vec::new();
        write_line(&mut line, &client, 0, None);
        assert!(String::from_utf8_lossy(&line).contains(" multi=0 watch=0 "));
        assert!(String::from_utf8_lossy(&line).contains(" cmd=NULL "));
    }
}
