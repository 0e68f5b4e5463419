//! Finding commands by name: the families' tables in one map, each command and subcommand with a number for its statistics.

use super::Command;
use crate::resp::Args;
use ahash::AHashMap;

/// No command's own name is longer; `rename-command` may give it a longer one.
const NAME_LEN_MAX: usize = 32;

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
        self.entries.push(Entry { spec, name, index, removed: false, subcommands: AHashMap::new() });
        index
    }

    /// Gives a command another name, or with an empty one takes it away, as `rename-command` in a configuration does. What it
    /// calls itself (`Entry::name`) stays as it was. New names live as long as the program: this is for its start.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), &'static str> {
        let index = self.names.remove(old.to_ascii_lowercase().as_str());
        let index = index.ok_or("No such command in rename-command")?;
        if new.is_empty() {
            self.remove(index);
            return Ok(());
        }
        let new = new.to_ascii_lowercase();
        if self.names.contains_key(new.as_str()) {
            return Err("Target command name already exists");
        }
        self.names.insert(Box::leak(new.into_boxed_str()), index);
        Ok(())
    }

    fn remove(&mut self, index: usize) {
        let below: Vec<usize> = self.entries[index].subcommands.values().copied().collect();
        for index in below.into_iter().chain([index]) {
            self.entries[index].removed = true;
        }
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
        let Some(lower) = lower.get_mut(..name.len()) else {
            return self.by_long_name(names, name);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        names.get(std::str::from_utf8(lower).ok()?).map(|&index| &self.entries[index])
    }

    #[cold]
    fn by_long_name(&self, names: &AHashMap<&'static str, usize>, name: &[u8]) -> Option<&Entry> {
        let longest = names.keys().map(|name| name.len()).max().unwrap_or(0);
        if name.len() > longest {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        names.get(std::str::from_utf8(&lower).ok()?).map(|&index| &self.entries[index])
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
