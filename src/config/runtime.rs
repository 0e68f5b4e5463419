//! CONFIG GET and CONFIG SET.
//!
//! CONFIG SET changes everything it was given or nothing: `check` reads all values against the present ones and touches
//! nothing, `apply` stores them. Between the two another connection may have changed the same settings; `apply` therefore
//! checks again, under the mutex that all changes take.

use super::directive::{Kind, Standing, Value, When, index_of};
use super::getters::MEMORY_BYTES_MIN;
use super::{Config, DIR, TABLE, Warning, find, value};
use crate::base::glob::glob_match;
use std::borrow::Cow;
use std::sync::atomic::Ordering;

const APPENDONLY: usize = index_of(&TABLE, "appendonly");
const MAXCLIENTS: usize = index_of(&TABLE, "maxclients");
const SUPERVISED: usize = index_of(&TABLE, "supervised");
const PORT: usize = index_of(&TABLE, "port");
const UNIX_SOCKET: usize = index_of(&TABLE, "unixsocket");
const TLS_PORT: usize = index_of(&TABLE, "tls-port");
const MAXMEMORY: usize = index_of(&TABLE, "maxmemory");
const POLICY: usize = index_of(&TABLE, "maxmemory-policy");
const PROTECTED: usize = index_of(&TABLE, "enable-protected-configs");
const PARTS: [usize; 3] = [
    index_of(&TABLE, "hot-tier-percent"),
    index_of(&TABLE, "block-cache-percent"),
    index_of(&TABLE, "write-buffer-percent"),
];

/// Changes that can be applied.
#[derive(Debug, Default)]
pub struct Checked {
    changes: Vec<(usize, Value)>,
}

impl Config {
    /// The settings whose names match a pattern, each with its value as CONFIG GET prints it; every name once.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (index, directive) in TABLE.iter().enumerate().filter(|(_, directive)| directive.is_setting()) {
            let is_wanted = |name: &&'static str| {
                patterns.iter().any(|pattern| {
                    let is_name = pattern.eq_ignore_ascii_case(name.as_bytes());
                    is_name || (directive.listed && glob_match(pattern, name.as_bytes(), true))
                })
            };
            found.extend(directive.names().filter(is_wanted).map(|name| (name, self.shown(index))));
        }
        found
    }

    fn shown(&self, index: usize) -> String {
        if index == DIR {
            return self.dir().display().to_string();
        }
        value::show(&TABLE[index], &self.value(index))
    }

    /// Checks the changes of a CONFIG SET, and changes nothing. The error is the client's, with its `ERR`.
    pub fn check(&self, pairs: &[(String, String)]) -> Result<Checked, String> {
        let mut named = Vec::with_capacity(pairs.len());
        for (given, text) in pairs {
            let (index, name) =
                find(given).filter(|&(index, _)| TABLE[index].is_setting()).ok_or_else(|| {
                    // As in Redis, the name ends at a zero byte.
                    let shown = given.split('\0').next().unwrap_or_default();
                    format!("ERR Unknown option or number of arguments for CONFIG SET - '{shown}'")
                })?;
            if let Some(reason) = self.refusal(index) {
                return Err(failure(name, reason));
            }
            if named.iter().any(|&(_, other, _)| other == name) {
                return Err(failure(given, "duplicate parameter"));
            }
            named.push((index, name, text));
        }
        let mut checked = Checked::default();
        let mut part = None;
        for (index, name, text) in named {
            let value = self.read(&checked, index, text).map_err(|reason| failure(name, &reason))?;
            if let Some(reason) = self.too_many_clients(index, &value) {
                return Err(failure(name, &reason));
            }
            if TABLE[index].when == When::Restart && value != self.value(index) {
                return Err(failure(
                    name,
                    "Tuff takes another value only from its configuration, at a start",
                ));
            }
            checked.changes.push((index, value));
            if PARTS.contains(&index) {
                part = Some(name);
            }
        }
        if let Some(name) = part {
            check_together(|part| self.value_with(&checked, part)).map_err(|reason| failure(name, reason))?;
        }
        Ok(checked)
    }

    /// What the system can serve bounds `maxclients`: its present value, which is lowered if need be, and later ones.
    pub fn bound_clients(&self, clients_max: u64) {
        let _changing = self.changing.lock();
        self.clients_max.store(clients_max, Ordering::Relaxed);
        let bound = i64::try_from(clients_max).unwrap_or(i64::MAX);
        if self.number(MAXCLIENTS) > bound {
            self.store(MAXCLIENTS, Value::Number(bound));
        }
    }

    fn too_many_clients(&self, index: usize, value: &Value) -> Option<String> {
        let most = self.clients_max.load(Ordering::Relaxed);
        match value {
            Value::Number(wanted)
                if index == MAXCLIENTS && u64::try_from(*wanted).is_ok_and(|n| n > most) =>
            {
                Some(format!(
                    "The operating system is not able to handle the specified number of clients, try with {most}"
                ))
            }
            _ => None,
        }
    }

    /// Why a setting cannot be changed at all.
    fn refusal(&self, index: usize) -> Option<&'static str> {
        match TABLE[index].when {
            When::Start => Some("can't set immutable config"),
            When::Protected if self.number(PROTECTED) == 0 => Some("can't set protected config"),
            When::Protected if index == DIR => Some("the database is open in the present folder"),
            _ => None,
        }
    }

    fn read(&self, checked: &Checked, index: usize, text: &str) -> Result<Value, Cow<'static, str>> {
        let directive = &TABLE[index];
        let present = match directive.kind {
            Kind::List { adds: true, .. } => Value::Text(String::new()),
            _ => self.value_with(checked, index),
        };
        value::read(directive, &[text], &present)
    }

    /// The value as it will be.
    fn value_with(&self, checked: &Checked, index: usize) -> Value {
        let change = checked.changes.iter().rev().find(|change| change.0 == index);
        change.map_or_else(|| self.value(index), |(_, value)| value.clone())
    }

    /// Makes the changes of a CONFIG SET: all of them, or none if meanwhile one is wrong. Answers the names of the settings
    /// that have another value now; what the operator should know is logged.
    pub fn apply(&self, pairs: &[(String, String)]) -> Vec<&'static str> {
        let _changing = self.changing.lock();
        match self.check(pairs) {
            Ok(checked) => {
                let (changed, warnings) = self.store_all(checked);
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                changed
            }
            Err(reason) => {
                tracing::warn!(reason, "a CONFIG SET that had been accepted changes nothing");
                Vec::new()
            }
        }
    }

    /// Makes changes that `check` accepted. Answers the names of the settings that have another value now, and what the
    /// operator should know.
    pub fn apply_checked(&self, checked: Checked) -> (Vec<&'static str>, Vec<Warning>) {
        let _changing = self.changing.lock();
        self.store_all(checked)
    }

    fn store_all(&self, checked: Checked) -> (Vec<&'static str>, Vec<Warning>) {
        let (mut changed, mut warnings) = (Vec::new(), Vec::new());
        for (index, value) in checked.changes {
            if value != self.value(index) {
                changed.push(TABLE[index].name);
                warnings.extend(warning_of(index, &value));
                self.store(index, value);
            }
        }
        (changed, warnings)
    }
}

fn failure(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// Checks the settings that depend on each other.
pub(super) fn check_together(value: impl Fn(usize) -> Value) -> Result<(), &'static str> {
    let percent = |part| if let Value::Number(percent) = value(part) { percent } else { 0 };
    if PARTS.into_iter().map(percent).sum::<i64>() > 100 {
        return Err(
            "hot-tier-percent, block-cache-percent and write-buffer-percent are more than 100 together",
        );
    }
    let is_set = |index: usize| value(index) != TABLE[index].default();
    if matches!(value(PORT), Value::Number(0)) && (is_set(UNIX_SOCKET) || is_set(TLS_PORT)) {
        return Err(
            "port 0 picks a free TCP port, and neither a unix socket nor TLS can be served instead: give a port",
        );
    }
    Ok(())
}

/// What the operator should know when a setting has this value.
pub(super) fn warning_of(index: usize, value: &Value) -> Option<Warning> {
    let directive = &TABLE[index];
    let shown = value::show(directive, value);
    let text = match (index, value) {
        (APPENDONLY, Value::Number(0)) => "the log is always written; see appendfsync".to_owned(),
        (MAXMEMORY, Value::Number(bytes @ 1..)) if (*bytes as u64) < MEMORY_BYTES_MIN => {
            "less than 64mb counts as 64mb".to_owned()
        }
        (SUPERVISED, Value::Number(0)) => "no effect, because upstart is not talked to".to_owned(),
        (POLICY, value) if *value != directive.default() => {
            "no key is deleted to save memory: what leaves it stays on disk".to_owned()
        }
        _ => match directive.standing {
            Standing::Ignored(why) if *value != directive.default() => format!("no effect, because {why}"),
            _ => return None,
        },
    };
    // Some values are secrets.
    let shown =
        if directive.name.ends_with("pass") || directive.name == "masterauth" { "..." } else { &shown };
    Some(Warning(format!("{} {shown}: {text}", directive.name)))
}
