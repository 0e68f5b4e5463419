//! The bytes of sets on disk, as docs/storage-format.md draws them. Whoever must change a line here changes the format.

use super::*;
use crate::encoding::row::{PLACE_LEN, Place, Position};
use crate::keyspace::Direction;
use crate::keyspace::testbed::Testbed;

/// Adds members to the set `s`, gives it an expiry if asked for, and gives its head row's value.
fn head_after(bed: &Testbed, members: &[&str], expires_at_ms: Option<u64>) -> Vec<u8> {
    bed.run(|txn| {
        let key = txn.key(0, b"s");
        let stored = load(txn, &key)?;
        add(txn, &key, stored.as_ref(), members.iter().map(|member| member.as_bytes()))?;
        if let (Some(stored), Some(_)) = (load(txn, &key)?, expires_at_ms) {
            txn.set_expiry(&key, &stored, expires_at_ms)?;
        }
        Ok(txn.element(Family::Keys, key.row())?.unwrap().to_vec())
    })
}

/// All rows of spread sets.
fn rows(bed: &Testbed) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    bed.run(|txn| {
        txn.scan(Family::Set, b"", &[0xff; PLACE_LEN + 1], Direction::Up, |row, value| {
            rows.push((row.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })
    });
    rows
}

#[test]
fn a_packed_set_is_its_members_numbers_in_order_words_as_they_came() {
    let bed = Testbed::open();
    assert_eq!(head_after(&bed, &["5", "-3", "5"], None), b"\x20\x00\x02\x02-3\x015");
    assert_eq!(head_after(&bed, &["b", ""], None), b"\x20\x10\x04\x02-3\x015\x01b\x00");
    let due = 0x0102_0304_0506;
    let expiring =
        b"\x20\x11\0\0\x01\x02\x03\x04\x05\x06\0\0\x01\x02\x03\x04\x05\x06\x04\x02-3\x015\x01b\x00";
    assert_eq!(head_after(&bed, &[], Some(due)), expiring);
    assert_eq!(rows(&bed), []);
}

#[test]
fn a_spread_set_has_a_head_that_counts_and_a_row_without_value_for_each_member() {
    let bed = Testbed::open();
    bed.keyspace.tuning().set_packing(false, 0);
    let head = head_after(&bed, &["b"], None);
    let place = Place::read(&head[2..]).unwrap();
    // Namespace 0; the slot of "s" is 3828. Versions are drawn, so that of the head counts.
    let prefix = [&b"\0\0\0\0\x0e\xf4"[..], &place.version.0.to_be_bytes()].concat();
    assert_eq!(head, [b"\x21\x10", &prefix[..], b"\0\0\0\0\0\0\0\x01"].concat());
    let position = Position::of_element(bed.keyspace.seed(), b"b").bytes();
    assert_eq!(rows(&bed), [([&prefix[..], &position, b"b"].concat(), Vec::new())]);

    // More members change the count alone, and the note where Redis would change its form.
    let long = "x".repeat(65);
    let grown = [b"\x21\x20", &prefix[..], b"\0\0\0\0\0\0\0\x02"].concat();
    assert_eq!(head_after(&bed, &[&long], None), grown);
    assert_eq!(rows(&bed).len(), 2);
}

#[test]
fn the_notes_on_disk_do_not_change() {
    assert_eq!([Form::Intset as u8, Form::Listpack as u8, Form::Hashtable as u8], [0, 1, 2]);
}
