//! The positions of keys that this thread has just computed.
//!
//! A command's key is hashed when a pipeline is looked ahead at, when it is locked and when it is found: three times within some
//! microseconds, for 240 instructions each (a key of 16 bytes: 130 for SipHash, 100 for the slot). To find that it was hashed before
//! takes 40. A place holds the key itself, so what is found is right whatever else had the place before.

use super::row::{HashSeed, Position};
use std::cell::RefCell;

/// Longer keys are hashed each time, bytes.
const KEY_LEN_MAX: usize = 39;
/// Four times as many as requests are looked ahead at; the one that was filled longest ago is filled next.
const PLACES: usize = 64;
/// So many numbers that keys have: of sixteen keys one in twenty loses its number to another.
const NUMBERS: usize = 256;

#[derive(Clone, Copy)]
struct Place {
    seed: [u8; 16],
    position: Position,
    len: u8,
    key: [u8; KEY_LEN_MAX],
}

struct Recent {
    places: [Place; PLACES],
    /// The place that was filled last for a key of this number; another key may have it now.
    place_of: [u8; NUMBERS],
    next: u8,
}

/// No key is as long as that.
const EMPTY: Place = Place { seed: [0; 16], position: Position(0), len: u8::MAX, key: [0; KEY_LEN_MAX] };

thread_local! {
    static RECENT: RefCell<Recent> = const {
        RefCell::new(Recent { places: [EMPTY; PLACES], place_of: [0; NUMBERS], next: 0 })
    };
}

/// The position of a key, from `compute` if it was not wanted lately.
pub(super) fn position_of(seed: &HashSeed, key: &[u8], compute: impl FnOnce() -> Position) -> Position {
    if key.len() > KEY_LEN_MAX {
        return compute();
    }
    let number = number_of(seed, key);
    RECENT.with_borrow_mut(|Recent { places, place_of, next }| {
        let place = &places[usize::from(place_of[number]) % PLACES];
        let len = usize::from(place.len);
        if place.key.get(..len) == Some(key) && place.seed == seed.0 {
            return place.position;
        }
        place_of[number] = *next;
        let place = &mut places[usize::from(*next) % PLACES];
        *next = next.wrapping_add(1);
        place.position = compute();
        (place.seed, place.len) = (seed.0, key.len() as u8);
        place.key[..key.len()].copy_from_slice(key);
        place.position
    })
}

/// The number of a key: by its last bytes, in which keys that are used together differ; the seed keeps anybody from choosing many of one.
/// Mixed so well that keys with consecutive numbers do not meet more often under one seed than under another.
fn number_of(seed: &HashSeed, key: &[u8]) -> usize {
    let last = match key.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => key.iter().fold(1, |number, &byte| number << 8 | u64::from(byte)),
    };
    let seed = u128::from_le_bytes(seed.0);
    let (low, high) = (seed as u64 | 1, (seed >> 64) as u64 | 1);
    let mixed = last.wrapping_mul(low);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(high);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(low);
    (mixed >> 56) as usize % NUMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_of_this_key_and_this_seed() {
        let (one, other) = (HashSeed([7; 16]), HashSeed([8; 16]));
        let mut number = 0;
        let mut of = |seed: &HashSeed, key: &[u8]| {
            number += 1;
            position_of(seed, key, || Position(number)).0
        };
        assert_eq!([of(&one, b"key"), of(&one, b"key")], [1, 1]);
        assert_eq!(of(&other, b"key"), 3, "another database");
        assert_eq!(of(&other, b""), 4);
        assert_eq!(of(&other, b""), 4);
        let long = [b'k'; KEY_LEN_MAX + 1];
        assert_eq!([of(&one, &long), of(&one, &long)], [6, 7]);
        assert_eq!([of(&one, &long[1..]), of(&one, &long[1..]), of(&one, &long[2..])], [8, 8, 10]);
    }

    #[test]
    fn however_many_keys_come_each_has_its_position() {
        let seed = HashSeed(*b"0123456789abcdef");
        for number in 0..10_000u64 {
            let number = number * 7919 % 100;
            let key = format!("key:{number}");
            assert_eq!(position_of(&seed, key.as_bytes(), || Position(number)), Position(number));
        }
    }
}
