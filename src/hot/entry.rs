//! What the tier keeps per row, and what it costs.
//!
//! A [`Key`] carries its 64-bit hash, so that finding, moving and evicting never hash again; up to
//! [`SHORT_BYTES_MAX`] bytes of it stand inside the entry, which spares the usual row key an
//! allocation and a cache miss. A [`Probe`] is the same without owning the bytes: what a lookup
//! takes. A [`Value`] is the row's bytes, or `None` for a row known to be absent.
//!
//! The charge of an entry is the memory it takes: the policy's constant (see `ENTRY_BYTES` in
//! `lru.rs` and `lfu.rs`) plus its heap blocks, each rounded up to the size the allocator hands out.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

/// Keys up to this long are kept inside the entry.
pub(super) const SHORT_BYTES_MAX: usize = 30;

/// The two reference counts in front of an `Arc`'s bytes.
const ARC_HEADER_BYTES: usize = 16;

/// A row's bytes, or `None` for "known absent".
pub(super) type Value = Option<Arc<[u8]>>;

/// A borrowed key with its hash.
pub(super) struct Probe<'a> {
    pub(super) hash: u64,
    pub(super) bytes: &'a [u8],
}

/// An owned key with its hash.
pub(super) struct Key {
    hash: u64,
    text: Text,
}

enum Text {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Box<[u8]>),
}

impl Key {
    pub(super) fn new(probe: &Probe) -> Key {
        let len = probe.bytes.len();
        let text = if len <= SHORT_BYTES_MAX {
            let mut bytes = [0; SHORT_BYTES_MAX];
            bytes[..len].copy_from_slice(probe.bytes);
            Text::Short { len: len as u8, bytes }
        } else {
            Text::Long(probe.bytes.into())
        };
        Key { hash: probe.hash, text }
    }

    pub(super) fn probe(&self) -> Probe<'_> {
        Probe { hash: self.hash, bytes: self.bytes() }
    }

    pub(super) fn is(&self, probe: &Probe) -> bool {
        self.hash == probe.hash && self.bytes() == probe.bytes
    }
}

/// What an owned and a borrowed key have in common; the `lru` crate looks up by this.
pub(super) trait Hashed {
    fn hash(&self) -> u64;
    fn bytes(&self) -> &[u8];
}

impl Hashed for Key {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Short { len, bytes } => &bytes[..usize::from(*len)],
            Text::Long(bytes) => bytes,
        }
    }
}

impl Hashed for Probe<'_> {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl Hash for dyn Hashed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Hashed::hash(self));
    }
}

impl PartialEq for dyn Hashed + '_ {
    fn eq(&self, other: &Self) -> bool {
        Hashed::hash(self) == Hashed::hash(other) && self.bytes() == other.bytes()
    }
}

impl Eq for dyn Hashed + '_ {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.probe())
    }
}

impl Eq for Key {}

impl<'a> Borrow<dyn Hashed + 'a> for Key {
    fn borrow(&self) -> &(dyn Hashed + 'a) {
        self
    }
}

/// Hands a key's stored hash through to the map.
pub(super) type PassHash = BuildHasherDefault<PassHasher>;

/// See [`PassHash`].
#[derive(Default)]
pub(super) struct PassHasher(u64);

impl Hasher for PassHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write their hash as one u64; this arm only keeps the hasher whole.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The heap bytes a key and its value take beside the entry itself.
pub(super) fn heap_bytes(key_len: usize, value_len: Option<usize>) -> usize {
    let key = if key_len <= SHORT_BYTES_MAX { 0 } else { size_class(key_len) };
    key + value_len.map_or(0, |len| size_class(ARC_HEADER_BYTES + len))
}

/// Puts new bytes in an entry's value: over the old ones when they are as long and nobody else
/// reads them, else as a new block.
pub(super) fn overwrite(held: &mut Value, value: Option<&[u8]>) {
    if let (Some(old), Some(new)) = (held.as_mut(), value)
        && old.len() == new.len()
        && let Some(bytes) = Arc::get_mut(old)
    {
        bytes.copy_from_slice(new);
        return;
    }
    *held = value.map(Arc::from);
}

/// The block size jemalloc answers a request of `bytes` with: multiples of 16 up to 128, then four
/// steps per doubling.
fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return 8;
    }
    let doubling = usize::BITS - (bytes - 1).leading_zeros();
    let step = 1usize << doubling.saturating_sub(3).max(4);
    bytes.saturating_add(step - 1) & !(step - 1)
}

#[cfg(test)]
mod tests {
    use super::{Hashed, Key, Probe, SHORT_BYTES_MAX, Value, heap_bytes, overwrite, size_class};
    use std::sync::Arc;

    #[test]
    fn size_classes_are_the_allocators() {
        let classes = [1, 8, 9, 17, 33, 49, 128, 129, 161, 250, 257, 320, 321, 1025, 5000, 16384, 16385]
            .map(size_class);
        assert_eq!(
            classes,
            [8, 8, 16, 32, 48, 64, 128, 160, 192, 256, 320, 320, 384, 1280, 5120, 16384, 20480]
        );
    }

    #[test]
    fn a_key_keeps_its_bytes_short_or_long() {
        for len in [0, 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 500] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let probe = Probe { hash: 7, bytes: &bytes };
            let key = Key::new(&probe);
            assert_eq!(key.bytes(), bytes);
            assert!(key.is(&probe));
            assert!(!key.is(&Probe { hash: 8, bytes: &bytes }));
            assert_eq!(heap_bytes(len, None) == 0, len <= SHORT_BYTES_MAX);
        }
    }

    #[test]
    fn overwrite_reuses_the_block_only_if_it_is_alone_and_as_long() {
        let mut held: Value = Some(Arc::from(&b"abc"[..]));
        let at = held.as_ref().map(|v| v.as_ptr());
        overwrite(&mut held, Some(b"xyz"));
        assert_eq!((held.as_deref(), held.as_ref().map(|v| v.as_ptr())), (Some(&b"xyz"[..]), at));
        let reader = held.clone();
        overwrite(&mut held, Some(b"123"));
        assert_eq!((reader.as_deref(), held.as_deref()), (Some(&b"xyz"[..]), Some(&b"123"[..])));
        overwrite(&mut held, Some(b"longer"));
        assert_eq!(held.as_deref(), Some(&b"longer"[..]));
        overwrite(&mut held, None);
        assert!(held.is_none());
    }
}
