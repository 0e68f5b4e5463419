//! Finding commands by name: the families' tables in one map, each command and subcommand with a number for its statistics.

use super::Command;
use crate::resp::Args;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A command or subcommand in the table.
pub struct Entry {
    /// What it is.
    pub spec: &'static Command,
    /// Its whole name: `get`, `config|get`.
    pub name: &'static str,
    /// Its number, below `Table::len`.
    pub index: usize,
    /// `rename-command` has taken it away.
    removed: bool,
    subcommands: Names,
}

/// Numbers of commands by their names, which are found in any case.
#[derive(Default)]
struct Names {
    /// Those of up to eight bytes, as numbers: nearly all that are asked for.
    short: FxHashMap<u64, usize>,
    long: FxHashMap<&'static str, usize>,
    /// Bytes of the longest.
    len_max: usize,
}

/// A name as the number its bytes in lower case make; nothing if it has more than eight. Names have no zero byte: another text has
/// another number.
fn short_name(name: &[u8]) -> Option<u64> {
    let len = name.len();
    let number = match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        // Where there are less than eight bytes the two overlap.
        (Some(first), Some(last)) if len <= 8 => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4))
        }
        // The first, the middle and the last, which may be the same.
        _ if (1..=3).contains(&len) => {
            let byte = |i: usize| u64::from(name[i]) << (8 * i);
            byte(0) | byte(len / 2) | byte(len - 1)
        }
        _ => return None,
    };
    (*name.last()? != 0).then(|| in_lower_case(number))
}

/// Eight bytes of text, each letter of ASCII in lower case.
fn in_lower_case(text: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // The high bit of each byte: set by an addition if the rest is at least A, or more than Z.
    let low = text & !HIGH;
    let from_a = low + (0x80 - u64::from(b'A')) * EACH;
    let behind_z = low + (0x7f - u64::from(b'Z')) * EACH;
    let upper = from_a & !behind_z & !text & HIGH;
    text | upper >> 2
}

impl Names {
    /// Names are in lower case.
    fn insert(&mut self, name: &'static str, index: usize) {
        self.len_max = self.len_max.max(name.len());
        match short_name(name.as_bytes()) {
            Some(short) => self.short.insert(short, index),
            None => self.long.insert(name, index),
        };
    }

    fn remove(&mut self, name: &str) -> Option<usize> {
        match short_name(name.as_bytes()) {
            Some(short) => self.short.remove(&short),
            None => self.long.remove(name),
        }
    }

    fn get(&self, name: &[u8]) -> Option<usize> {
        match short_name(name) {
            Some(short) => self.short.get(&short).copied(),
            None => self.get_long(name),
        }
    }

    fn get_long(&self, name: &[u8]) -> Option<usize> {
        if name.len() > self.len_max {
            return None;
        }
        let lower: SmallVec<[u8; 32]> = name.iter().map(u8::to_ascii_lowercase).collect();
        self.long.get(std::str::from_utf8(&lower).ok()?).copied()
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.short.values().chain(self.long.values()).copied()
    }
}

/// All commands of a server.
pub struct Table {
    entries: Vec<Entry>,
    names: Names,
}

/// Why a request names no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// There is no such command.
    Command,
    /// The command has no such subcommand.
    Subcommand,
}

impl Table {
    /// A table of these families. Whole names of subcommands live as long as the program: a table is made once.
    pub fn new(families: &[&'static [Command]]) -> Table {
        let mut table = Table { entries: Vec::new(), names: Names::default() };
        for spec in families.iter().flat_map(|family| family.iter()) {
            let index = table.push(spec, spec.name);
            table.names.insert(spec.name, index);
            for sub in spec.subcommands {
                let name: &'static str = Box::leak(format!("{}|{}", spec.name, sub.name).into_boxed_str());
                let sub_index = table.push(sub, name);
                table.entries[index].subcommands.insert(sub.name, sub_index);
            }
        }
        table
    }

    fn push(&mut self, spec: &'static Command, name: &'static str) -> usize {
        let index = self.entries.len();
        self.entries.push(Entry { spec, name, index, removed: false, subcommands: Names::default() });
        index
    }

    /// Gives a command another name, or with an empty one takes it away, as `rename-command` in a configuration does. What it
    /// calls itself (`Entry::name`) stays as it was. New names live as long as the program: this is for its start.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), &'static str> {
        let index = self.names.remove(&old.to_ascii_lowercase());
        let index = index.ok_or("No such command in rename-command")?;
        if new.is_empty() {
            self.remove(index);
            return Ok(());
        }
        let new = new.to_ascii_lowercase();
        if self.names.get(new.as_bytes()).is_some() {
            return Err("Target command name already exists");
        }
        self.names.insert(Box::leak(new.into_boxed_str()), index);
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        let below: Vec<usize> = self.entries[index].subcommands.numbers().collect();
        for index in below.into_iter().chain([index]) {
            self.entries[index].removed = true;
        }
    }

    /// The command a request names, down to the subcommand.
    pub fn find(&self, args: Args<'_>) -> Result<&Entry, Unknown> {
        let entry = self.names.get(args.at(0)).map(|index| &self.entries[index]).ok_or(Unknown::Command)?;
        if entry.spec.subcommands.is_empty() {
            return Ok(entry);
        }
        match args.get(1) {
            None => Ok(entry),
            Some(name) => {
                entry.subcommands.get(name).map(|index| &self.entries[index]).ok_or(Unknown::Subcommand)
            }
        }
    }

    /// The command of a number.
    pub fn entry(&self, number: usize) -> Option<&Entry> {
        self.entries.get(number)
    }

    /// Commands and subcommands, in the order of their numbers, those that were taken away included.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The commands and subcommands that a client can name.
    pub fn present(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.removed)
    }

    /// The same without subcommands.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        self.present().filter(|entry| !entry.name.contains('|'))
    }

    /// How many numbers are given.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True for a table without commands.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Outcome;
    use crate::resp::{OwnedArgs, Reply};

    fn nothing(_call: &mut super::super::Call<'_>, _reply: &mut Reply<'_>) -> Outcome {
        Ok(())
    }

    const SUBS: &[Command] = &[Command::new("get", nothing).arity(-3)];
    const FAMILY: &[Command] = &[
        Command::new("get", nothing).arity(2),
        Command::new("set", nothing).arity(-3),
        Command::container("config", SUBS),
    ];

    fn found<'t>(table: &'t Table, line: &str) -> Option<&'t str> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        table.find(OwnedArgs::from_slices(&words).args()).ok().map(|entry| entry.name)
    }

    #[test]
    fn short_names_are_numbers_whatever_their_case() {
        for name in [&b"a"[..], b"ab", b"get", b"mget", b"hmget", b"lrange", b"getrange"] {
            let padded: Vec<u8> = name.iter().copied().chain([0; 8]).take(8).collect();
            let number = u64::from_le_bytes(padded.try_into().unwrap());
            assert_eq!(short_name(name), Some(number));
            assert_eq!(short_name(&name.to_ascii_uppercase()), Some(number));
        }
        assert_eq!([&b""[..], b"get\0", b"\0", b"expiretime"].map(short_name), [None; 4]);
        for byte in 0..=255u8 {
            let lower = u64::from_le_bytes([byte.to_ascii_lowercase(); 8]);
            assert_eq!(in_lower_case(u64::from_le_bytes([byte; 8])), lower, "{byte}");
        }
    }

    #[test]
    fn a_renamed_command_answers_to_its_new_name_only_and_keeps_its_own() {
        let mut table = Table::new(&[FAMILY]);
        let long = "f".repeat(64);
        table.rename("GET", "Fetch").unwrap();
        table.rename("fetch", &long).unwrap();
        table.rename("config", "cfg").unwrap();
        assert_eq!([found(&table, "get k"), found(&table, "fetch k")], [None, None]);
        assert_eq!(found(&table, &format!("{} k", long.to_uppercase())), Some("get"));
        assert_eq!(found(&table, &"f".repeat(65)), None);
        assert_eq!([found(&table, "CFG get x"), found(&table, "config get x")], [Some("config|get"), None]);
        assert_eq!(table.commands().count(), 3);
    }

    #[test]
    fn a_command_renamed_to_nothing_is_gone_with_its_subcommands() {
        let mut table = Table::new(&[FAMILY]);
        table.rename("config", "").unwrap();
        assert_eq!(found(&table, "config get x"), None);
        assert_eq!(table.present().map(|entry| entry.name).collect::<Vec<_>>(), ["get", "set"]);
        assert_eq!(table.rename("config", "x"), Err("No such command in rename-command"));
        assert_eq!(table.rename("get", "SET"), Err("Target command name already exists"));
        assert_eq!(table.rename("set", "set"), Ok(()));
    }
}
