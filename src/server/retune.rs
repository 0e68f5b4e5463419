//! Takes settings to where they act: at start, and again after CONFIG SET.

use crate::config::{Config, HotPolicy};
use crate::dispatch::node::Node;
use crate::hot::Policy;
use crate::keyspace::events::Events;

/// The hot tier's policy as configured.
pub(super) fn hot_policy(config: &Config) -> Policy {
    match config.hot_policy() {
        HotPolicy::Lru => Policy::Lru,
        HotPolicy::Lfu => {
            Policy::Lfu { log_factor: config.lfu_log_factor(), decay_minutes: config.lfu_decay_minutes() }
        }
    }
}

/// Brings keyspace and log in line with the configuration. What may be cached, the governor sees to (`Claims::look`).
pub(super) fn retune(node: &Node) {
    let (config, keyspace) = (&node.config, &node.keyspace);
    let tuning = keyspace.tuning();
    tuning.set_packing(config.packing(), config.packed_bytes_max());
    tuning.set_hash_entries_max(config.hash_entries_max());
    tuning.set_hash_value_bytes_max(config.hash_value_bytes_max());
    tuning.set_list_size_max(config.list_size_max());
    tuning.set_set_intset_entries_max(config.set_intset_entries_max());
    tuning.set_set_entries_max(config.set_entries_max());
    tuning.set_set_value_bytes_max(config.set_value_bytes_max());
    tuning.set_zset_entries_max(config.zset_entries_max());
    tuning.set_zset_value_bytes_max(config.zset_value_bytes_max());
    tuning.set_stream_node_bytes_max(config.stream_node_bytes_max());
    tuning.set_stream_node_entries_max(config.stream_node_entries_max());
    tuning.set_string_bytes_max(usize::try_from(config.bulk_len_max()).unwrap_or(usize::MAX));
    keyspace.telling().set_wanted(Events::of_letters(&config.notify_keyspace_events()));
    node.tracking.keep_limit();
    let policy = hot_policy(config);
    if keyspace.hot().policy() != policy {
        keyspace.hot().set_policy(policy);
    }
    if let Some(set_log_level) = node.set_log_level.get() {
        set_log_level(config.loglevel());
    }
    keyspace.store().set_budgets(config.block_cache_bytes(), config.write_buffer_bytes());
}
