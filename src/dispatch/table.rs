//! Finding commands by name: the families' tables in one map, each command and subcommand with a number for its statistics.

use super::Command;
use crate::resp::Args;
use ahash::AHashMap;

/// No command's name is longer.
const NAME_LEN_MAX: usize = 32;

/// A command or subcommand in the table.
pub struct Entry {
    /// What it is.
    pub spec: &'static Command,
    /// Its whole name: `get`, `config|get`.
    pub name: &'static str,
    /// Its number, below `Table::len`.
    pub index: usize,
    subcommands: AHashMap<&'static str, usize>,
}

/// All commands of a server.
pub struct Table {
    entries: Vec<Entry>,
    names: AHashMap<&'static str, usize>,
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
        let mut table = Table { entries: Vec::new(), names: AHashMap::new() };
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
        self.entries.push(Entry { spec, name, index, subcommands: AHashMap::new() });
        index
    }

    /// The command a request names, down to the subcommand.
    pub fn find(&self, args: Args<'_>) -> Result<&Entry, Unknown> {
        let entry = self.by_name(&self.names, args.at(0)).ok_or(Unknown::Command)?;
        if entry.spec.subcommands.is_empty() {
            return Ok(entry);
        }
        match args.get(1) {
            None => Ok(entry),
            Some(name) => match self.by_name(&entry.subcommands, name) {
                Some(sub) => Ok(sub),
                None => Err(Unknown::Subcommand),
            },
        }
    }

    fn by_name(&self, names: &AHashMap<&'static str, usize>, name: &[u8]) -> Option<&Entry> {
        let mut lower = [0; NAME_LEN_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        names.get(std::str::from_utf8(lower).ok()?).map(|&index| &self.entries[index])
    }

    /// Commands and subcommands, in the order of their numbers.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The commands without their subcommands.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.name.contains('|'))
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
