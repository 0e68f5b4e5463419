//! The settings that data types ask for, changed by CONFIG SET while commands run. Relaxed atomics: a command may see the
//! old value or the new one.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident, $set:ident: $atomic:ident => $plain:ty = $default:expr;)*) => {
        /// Settings of the data types.
        pub struct Tuning {
            packing: AtomicBool,
            packed_bytes: AtomicUsize,
            $($name: $atomic,)*
        }

        impl Default for Tuning {
            fn default() -> Tuning {
                Tuning {
                    packing: AtomicBool::new(true),
                    packed_bytes: AtomicUsize::new(1024),
                    $($name: $atomic::new($default),)*
                }
            }
        }

        impl Tuning {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> $plain {
                    self.$name.load(Ordering::Relaxed)
                }

                #[doc = concat!("Sets `", stringify!($name), "`.")]
                pub fn $set(&self, value: $plain) {
                    self.$name.store(value, Ordering::Relaxed);
                }
            )*
        }
    };
}

settings! {
    /// `hash-max-listpack-entries`.
    hash_entries_max, set_hash_entries_max: AtomicUsize => usize = 128;
    /// `hash-max-listpack-value`, bytes.
    hash_value_bytes_max, set_hash_value_bytes_max: AtomicUsize => usize = 64;
    /// `list-max-listpack-size`: elements, or a size class when negative.
    list_size_max, set_list_size_max: AtomicI64 => i64 = -2;
    /// `set-max-intset-entries`.
    set_intset_entries_max, set_set_intset_entries_max: AtomicUsize => usize = 512;
    /// `set-max-listpack-entries`.
    set_entries_max, set_set_entries_max: AtomicUsize => usize = 128;
    /// `set-max-listpack-value`, bytes.
    set_value_bytes_max, set_set_value_bytes_max: AtomicUsize => usize = 64;
    /// `zset-max-listpack-entries`.
    zset_entries_max, set_zset_entries_max: AtomicUsize => usize = 128;
    /// `zset-max-listpack-value`, bytes.
    zset_value_bytes_max, set_zset_value_bytes_max: AtomicUsize => usize = 64;
    /// `stream-node-max-bytes`; 0: no bound.
    stream_node_bytes_max, set_stream_node_bytes_max: AtomicUsize => usize = 4096;
    /// `stream-node-max-entries`; 0: no bound.
    stream_node_entries_max, set_stream_node_entries_max: AtomicI64 => i64 = 100;
    /// `proto-max-bulk-len`, bytes: the longest string.
    string_bytes_max, set_string_bytes_max: AtomicUsize => usize = 512 << 20;
    /// Rows of a collection that are written in one batch; a larger one that is made at once is written before its head.
    batch_rows_max, set_batch_rows_max: AtomicUsize => usize = super::WORKER_STEPS_MAX as usize;
}

impl Tuning {
    /// The largest packed collection in bytes; 0 when packing is off.
    pub fn packed_bytes_max(&self) -> usize {
        if self.packing.load(Ordering::Relaxed) { self.packed_bytes.load(Ordering::Relaxed) } else { 0 }
    }

    /// The most elements that leave a collection of so many in one batch. When more do, it is less work, or takes less memory, to write
    /// anew what stays (`Txn::begin_build`).
    pub fn cut_rows_max(&self, count: u64) -> u64 {
        let rows = self.batch_rows_max() as u64;
        (count / 9).clamp(rows.saturating_mul(10), rows.saturating_mul(100))
    }

    /// Sets `packing` and `packed-max-bytes`.
    pub fn set_packing(&self, packing: bool, packed_bytes_max: usize) {
        self.packing.store(packing, Ordering::Relaxed);
        self.packed_bytes.store(packed_bytes_max, Ordering::Relaxed);
    }
}
