//! How many entries a group has read, and how many it has still to read.
//!
//! Both are told from counters as long as XDEL has removed nothing that would make them wrong; then from what is known of the ends of the
//! stream, or not at all. The rules are Redis'.

use super::{Id, Stream};
use crate::encoding::stream_group::GroupRow;

impl Stream {
    /// How many entries there ever were up to this id; none if that cannot be told.
    fn entries_up_to(&self, id: Id) -> Option<u64> {
        let extra = &self.extra;
        if extra.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= extra.last_id {
            return Some(extra.entries_added);
        }
        if id != Id::MIN && id < extra.deleted_id_max {
            return None;
        }
        match id.cmp(&extra.last_id) {
            std::cmp::Ordering::Equal => return Some(extra.entries_added),
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => {}
        }
        let is_whole = extra.deleted_id_max == Id::MIN || extra.deleted_id_max < extra.first_id;
        let before_first = extra.entries_added.saturating_sub(self.len);
        match id.cmp(&extra.first_id) {
            _ if !is_whole => None,
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some(before_first + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// Whether XDEL may have removed an entry from this id on.
    fn has_holes_from(&self, id: Id) -> bool {
        let extra = &self.extra;
        self.len > 0
            && extra.deleted_id_max != Id::MIN
            && extra.first_id <= extra.deleted_id_max
            && id <= extra.deleted_id_max
    }

    /// What a group knows to have read when it is given this entry, the next one behind its last.
    pub(super) fn entries_read_with(&self, group: &GroupRow, id: Id) -> Option<u64> {
        match group.entries_read {
            Some(read) if group.last_id >= self.extra.first_id && !self.has_holes_from(group.last_id) => {
                Some(read + 1)
            }
            read if self.extra.entries_added == 0 => read,
            _ => self.entries_up_to(id),
        }
    }

    /// How many entries a group has still to read; none if that cannot be told.
    pub fn lag(&self, group: &GroupRow) -> Option<i64> {
        let extra = &self.extra;
        if extra.entries_added == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last_id < extra.first_id && extra.deleted_id_max < extra.first_id {
            return Some(self.len as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_holes_from(group.last_id) => Some(read),
            _ => self.entries_up_to(group.last_id),
        };
        read.map(|read| extra.entries_added as i64 - read as i64)
    }
}
