//! CONFIG: settings of the running server, and its counters back to zero.
//!
//! What settings there are and what they may be is the `config` folder's affair. CONFIG SET checks its changes
//! here and leaves them as an effect; the connection applies all of them or, when one is wrong, none. CONFIG
//! REWRITE writes a file and therefore runs on the pool; it may run twice and then writes the same file twice.
//! No key is touched, no lock is taken.

use crate::base::glob::glob_match;
use crate::dispatch::docs;
use crate::dispatch::spec::Flag::{Admin, Heavy, Loading, NoScript, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Reply};
use crate::session::Effect;

/// CONFIG and its subcommands.
pub const COMMANDS: &[Command] = &family([Command::container("config", CONFIG_SUBCOMMANDS)
    .group(Group::Server)
    .since("2.0.0")
    .summary("Settings of the running server.")]);

const CONFIG_SUBCOMMANDS: &[Command] = &[
    Command::new("get", config_get)
        .arity(-3)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Server)
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Shows the settings whose names match.")
        .syntax("parameter..."),
    Command::new("help", config_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Server)
        .since("5.0.0")
        .summary("Lists what CONFIG can do."),
    Command::new("resetstat", config_resetstat)
        .arity(2)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.0.0")
        .summary("Sets the counters that INFO shows back to zero."),
    Command::new("rewrite", config_rewrite)
        .arity(2)
        .flags(&[Admin, NoScript, Loading, Stale, Heavy])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.8.0")
        .summary("Writes the present settings into the configuration file."),
    Command::new("set", config_set)
        .arity(-4)
        .flags(&[Admin, NoScript, Loading, Stale])
        .group(Group::Server)
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .since("2.0.0")
        .complexity("O(N)")
        .summary("Changes settings while the server runs.")
        .syntax("data(parameter value)..."),
];

fn config_get(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = call.args.skip(2).iter().collect();
    let found = call.node.config.get(&patterns);
    reply.map(found.len());
    for (name, value) in &found {
        reply.bulk(shown_name(&patterns, name));
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// A setting that was asked for by its plain name is called as the client wrote it, unless a pattern before found it.
fn shown_name<'a>(patterns: &[&'a [u8]], name: &'a str) -> &'a [u8] {
    let name = name.as_bytes();
    let first = patterns.iter().find(|pattern| glob_match(pattern, name, true));
    first.filter(|pattern| pattern.eq_ignore_ascii_case(name)).map_or(name, |pattern| *pattern)
}

fn config_help(_call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "config", CONFIG_SUBCOMMANDS);
    Ok(())
}

fn config_resetstat(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::ResetStatistics);
    reply.ok();
    Ok(())
}

fn config_rewrite(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.node.config.rewrite().map_err(refused)?;
    reply.ok();
    Ok(())
}

fn config_set(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let words = call.args.skip(2);
    let pairs = pairs_of(words)?;
    call.node.config.check(&pairs).map_err(|reason| refused_set(reason, words))?;
    check_text(words)?;
    call.effects.push(Effect::Configure(pairs));
    reply.ok();
    Ok(())
}

/// The settings say what is wrong, error code first.
fn refused(reason: String) -> Error {
    Error::Text(reason.into())
}

/// As `refused`; a name that is no text is quoted byte for byte.
fn refused_set(reason: String, words: Args<'_>) -> Error {
    const UNKNOWN: &str = "ERR Unknown option or number of arguments for CONFIG SET - '";
    let mut names = words.iter().step_by(2).filter(|name| std::str::from_utf8(name).is_err());
    let is_meant = |name: &&[u8]| {
        let text = Error::quoting(UNKNOWN, String::from_utf8_lossy(name).as_bytes(), "'");
        *text.to_bytes() == *reason.as_bytes()
    };
    match names.find(is_meant) {
        Some(name) => Error::quoting(UNKNOWN, name, "'"),
        None => refused(reason),
    }
}

/// Names and values of CONFIG SET, with U+FFFD for what is no text: no name and no word of a choice has it.
fn pairs_of(words: Args<'_>) -> Outcome<Vec<(String, String)>> {
    if !words.len().is_multiple_of(2) {
        return fail("ERR syntax error");
    }
    let text = |index| String::from_utf8_lossy(words.at(index)).into_owned();
    Ok((0..words.len()).step_by(2).map(|index| (text(index), text(index + 1))).collect())
}

/// Settings are text; a value that is none (Redis would keep the bytes) is refused.
fn check_text(words: Args<'_>) -> Outcome {
    for index in (0..words.len()).step_by(2) {
        if std::str::from_utf8(words.at(index + 1)).is_err() {
            let before = "ERR CONFIG SET failed (possibly related to argument '";
            return Err(Error::quoting(before, words.at(index), "') - argument must be valid UTF-8").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    #[test]
    fn a_plain_name_is_shown_as_it_was_written_and_a_matched_one_as_it_is() {
        let shown = |patterns: &[&[u8]]| String::from_utf8_lossy(shown_name(patterns, "save")).into_owned();
        assert_eq!(shown(&[b"SAVE"]), "SAVE");
        assert_eq!(shown(&[b"sAve", b"save", b"*"]), "sAve");
        assert_eq!(shown(&[b"port", b"s*", b"SAVE"]), "save");
    }

    fn pairs(words: &[&[u8]]) -> Result<Vec<(String, String)>, String> {
        let words = OwnedArgs::from_slices(words);
        pairs_of(words.args()).and_then(|pairs| check_text(words.args()).map(|()| pairs)).map_err(|stop| {
            match stop {
                Stop::Error(error) => error.to_string(),
                other => format!("{other:?}"),
            }
        })
    }

    #[test]
    fn names_and_values_come_in_pairs_of_text() {
        let both = pairs(&[b"maxmemory", b"1gb", b"save", b""]);
        assert_eq!(both, Ok(vec![("maxmemory".into(), "1gb".into()), ("save".into(), String::new())]));
        assert_eq!(pairs(&[b"port", b"1", b"maxmemory"]), Err("ERR syntax error".into()));
        let text = "ERR CONFIG SET failed (possibly related to argument 'a') - argument must be valid UTF-8";
        assert_eq!(pairs(&[b"a", b"\xff"]), Err(text.into()));
    }

    #[test]
    fn an_unknown_name_is_quoted_byte_for_byte() {
        let words = OwnedArgs::from_slices(&[b"maxmemory", b"1", b"\xff\0z", b"1"]);
        let pairs = pairs_of(words.args()).unwrap();
        let reason = crate::config::Config::default().check(&pairs).unwrap_err();
        let text = b"ERR Unknown option or number of arguments for CONFIG SET - '\xff'";
        assert_eq!(&*refused_set(reason, words.args()).to_bytes(), text);
        let other = "ERR Unknown option or number of arguments for CONFIG SET - 'bogus'";
        assert_eq!(refused_set(other.to_owned(), words.args()).to_string(), other);
    }
}
