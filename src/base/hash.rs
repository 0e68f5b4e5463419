//! Hashes of keys: the CRC16 that assigns cluster slots, and a keyed hash for row order.
//!
//! A key's slot is CRC16 (XMODEM: polynomial 0x1021, start 0, not reflected) modulo 16384. If the
//! key holds `{` and later `}` with something between, only what is between the first such pair is
//! hashed, so that related keys can be made to share a slot.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// How many cluster slots there are.
pub const SLOTS: u16 = 16384;

/// What a byte adds to the CRC of a text in which so many bytes follow it (the number of the table).
static CRC16_TABLES: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut following = 0;
        while following < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
                bit += 1;
            }
            tables[following][byte] = crc;
            following += 1;
        }
        byte += 1;
    }
    tables
}

/// CRC16 (XMODEM) of these bytes; eight at a time, whose parts are looked up independently of each other.
pub fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let part = |following: usize, byte: u8| CRC16_TABLES[following][usize::from(byte)];
    let crc = eights.iter().fold(0u16, |crc, &[a, b, c, d, e, f, g, h]| {
        let [high, low] = crc.to_be_bytes();
        let first = part(7, a ^ high) ^ part(6, b ^ low) ^ part(5, c) ^ part(4, d);
        first ^ part(3, e) ^ part(2, f) ^ part(1, g) ^ part(0, h)
    });
    rest.iter().fold(crc, |crc, &byte| (crc << 8) ^ part(0, (crc >> 8) as u8 ^ byte))
}

/// The cluster slot of a key, 0 to 16383.
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) % SLOTS
}

/// The part of the key that decides its slot: its first non-empty `{tag}`, or all of it.
pub fn hashed_part(key: &[u8]) -> &[u8] {
    // Most keys have none: sixteen bytes are compared at once.
    let (sixteens, rest) = key.as_chunks::<16>();
    let may_have = sixteens.iter().any(|bytes| bytes.iter().fold(false, |found, &b| found | (b == b'{')));
    if !may_have && !rest.contains(&b'{') {
        return key;
    }
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return key;
    };
    let after = &key[open + 1..];
    match after.iter().position(|&b| b == b'}') {
        None | Some(0) => key,
        Some(close) => &after[..close],
    }
}

/// SipHash-1-3 of these bytes under a secret seed.
pub fn keyed_hash(seed: &[u8; 16], bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(seed);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{crc16, key_slot, keyed_hash};

    #[test]
    fn crc16_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
        // Bit by bit, at every length up to three eights.
        let bytes: Vec<u8> = (0..24u8).map(|byte| byte.wrapping_mul(37) ^ 0xa5).collect();
        for len in 0..=bytes.len() {
            let plain = bytes[..len].iter().fold(0u16, |crc, &byte| {
                (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                    if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
                })
            });
            assert_eq!(crc16(&bytes[..len]), plain, "{len} bytes");
        }
    }

    #[test]
    fn the_slot_follows_the_hash_tag_rule() {
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b""), 0);
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"user1000"));
        assert_eq!(key_slot(b"a{b}c{d}"), key_slot(b"b"));
        assert_eq!(key_slot(b"a{{b}}"), key_slot(b"{b"));
        // An empty tag, or none that closes, hashes the whole key.
        assert_eq!(key_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16384);
        assert_eq!(key_slot(b"foo{bar"), crc16(b"foo{bar") % 16384);
        assert_eq!(key_slot(b"}foo{"), crc16(b"}foo{") % 16384);
        // Wherever the tag stands in a long key.
        for before in 0..40 {
            let key = [&b"x".repeat(before)[..], b"{tag}", &b"y".repeat(20)].concat();
            assert_eq!(key_slot(&key), key_slot(b"tag"), "behind {before} bytes");
        }
    }

    #[test]
    fn the_keyed_hash_depends_on_every_byte_of_seed_and_text() {
        let seed = *b"0123456789abcdef";
        let other = *b"0123456789abcdeF";
        assert_eq!(keyed_hash(&seed, b"key"), keyed_hash(&seed, b"key"));
        assert_ne!(keyed_hash(&seed, b"key"), keyed_hash(&other, b"key"));
        assert_ne!(keyed_hash(&seed, b"key"), keyed_hash(&seed, b"keY"));
    }

    #[test]
    fn the_keyed_hash_is_siphash_1_3_and_does_not_change() {
        // Rows are stored in this order: a new value here would make every data folder unreadable.
        let seed: [u8; 16] = std::array::from_fn(|i| i as u8);
        assert_eq!(keyed_hash(&seed, b""), 0xabac_0158_050f_c4dc);
    }
}
