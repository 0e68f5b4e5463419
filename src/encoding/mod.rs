//! Bytes on disk. Pure functions between what the database knows and the row keys and row values that RocksDB keeps.
//! No I/O, no clock, no locks. Every layout here is drawn in docs/storage-format.md and pinned by golden-byte tests.
//!
//! Read in this order: `row` (row keys: where a thing lies), `head` (the value of a key's head row), `packed` (small
//! collections inside a head), `score` (rows of sorted sets), `stream` and `stream_group` (entries, consumer groups), `ttl` and `gc` (the two queues), `system` (counters, namespaces,
//! the format version), `library` (functions), `dump` (Redis' own format, with `lzf` in it).

pub mod dump;
pub mod gc;
pub mod head;
pub mod library;
mod lzf;
pub mod packed;
mod recent;
pub mod row;
pub mod score;
pub mod stream;
pub mod stream_group;
pub mod system;
pub mod ttl;

/// The version written in the data folder. A folder with another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// A row that does not decode. It means damage or a newer format, never a client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged row: {0}")]
pub struct Damaged(pub &'static str);

/// The column families, one per role of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Every key's head: its type, expiry, and the whole value of a string or small collection.
    Keys = 0,
    /// Fields of spread hashes.
    Hash = 1,
    /// Elements of spread lists.
    List = 2,
    /// Chunks of big strings.
    Chunk = 3,
    /// Time-ordered hints for the expirer.
    Ttl = 4,
    /// Dead collections and namespaces waiting for removal.
    Gc = 5,
    /// Counters, namespaces, leases, the format version.
    System = 6,
    /// Members of spread sets.
    Set = 7,
    /// Members of spread sorted sets, in the order of their hashes, with their scores.
    Member = 8,
    /// The same members in the order of their scores.
    Score = 9,
    /// Entries of streams.
    Stream = 10,
    /// Consumer groups of streams: groups, consumers, pending entries.
    Group = 11,
}

impl Family {
    /// All families, in the order of their numbers.
    pub const ALL: [Family; 12] = [
        Family::Keys,
        Family::Hash,
        Family::List,
        Family::Chunk,
        Family::Ttl,
        Family::Gc,
        Family::System,
        Family::Set,
        Family::Member,
        Family::Score,
        Family::Stream,
        Family::Group,
    ];

    /// The column family's name in RocksDB.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Keys => "keys",
            Family::Hash => "hash",
            Family::List => "list",
            Family::Chunk => "chunk",
            Family::Ttl => "ttl",
            Family::Gc => "gc",
            Family::System => "system",
            Family::Set => "set",
            Family::Member => "member",
            Family::Score => "score",
            Family::Stream => "stream",
            Family::Group => "group",
        }
    }

    /// True for the families whose rows lie under a collection's `Place` and die with its version.
    pub const fn holds_elements(self) -> bool {
        matches!(
            self,
            Family::Hash
                | Family::List
                | Family::Chunk
                | Family::Set
                | Family::Member
                | Family::Score
                | Family::Stream
                | Family::Group
        )
    }

    /// False for the family whose rows are only ever scanned: nobody asks for one of them by its key.
    pub const fn is_read_by_row(self) -> bool {
        !matches!(self, Family::Score)
    }

    /// True for the families of which rows are often asked for that are not there: filters of their rows answer that.
    pub const fn has_filter(self) -> bool {
        matches!(self, Family::Keys | Family::Hash | Family::Set | Family::Member | Family::Group)
    }

    /// False for the family whose rows are hardly ever asked for by their keys: only a read brings one into the hot tier.
    pub const fn is_kept_when_written(self) -> bool {
        !matches!(self, Family::Stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_keep_their_numbers_and_names() {
        let families = Family::ALL.map(|family| (family as u8, family.name()));
        assert_eq!(
            families,
            [
                (0, "keys"),
                (1, "hash"),
                (2, "list"),
                (3, "chunk"),
                (4, "ttl"),
                (5, "gc"),
                (6, "system"),
                (7, "set"),
                (8, "member"),
                (9, "score"),
                (10, "stream"),
                (11, "group")
            ]
        );
        assert_eq!(FORMAT_VERSION, 1);
    }
}
