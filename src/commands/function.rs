//! FCALL and FUNCTION: libraries of Lua functions that the database keeps.
//!
//! A library is a row of the `system` family and an entry of the keyspace's map of libraries (`keyspace::libraries`). FUNCTION LOAD, DELETE,
//! FLUSH and RESTORE replace that map, alone in the keyspace (`Flag::Gate`), in one batch like any write. FCALL takes the map as it
//! is; its function is compiled by the first call on each thread (`script::Functions`), and runs as a script does (`script_host`).

use super::script_host::{CommandHost, LUA_BYTES_MAX, WordList, check_flags};
use crate::base::clock::Clock;
use crate::base::glob::glob_match;
use crate::base::number::parse_i64;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::running::{BUSY_SCRIPT, Kill};
use crate::dispatch::spec::Flag::{
    AllowBusy, DenyOom, Gate, Loading, MayReplicate, NoMandatoryKeys, NoScript, Reaches, ReadOnly,
    SkipMonitor, Stale, Write,
};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command, docs};
use crate::encoding::dump::{check_dump, dump_libraries, read_library};
use crate::encoding::library::{Function, Library};
use crate::keyspace::{Error, Libraries, LoadedLibrary, Outcome, fail};
use crate::resp::{Proto, Reply};
use crate::script::{Callee, Flags, Functions, Host, LoadError, LogLevel, NewFunction, Shebang, Stop};
use std::cell::RefCell;
use std::sync::Arc;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("fcall", fcall)
        .arity(-3)
        .flags(&[NoScript, Stale, SkipMonitor, NoMandatoryKeys, MayReplicate, Reaches])
        .keys(&[KeySpec::rw(2)
            .counted()
            .access()
            .update()
            .note("A script may read and change any of its keys")])
        .group(Group::Scripting)
        .since("7.0.0")
        .complexity("The function's own cost.")
        .summary("Calls a function.")
        .syntax("function numkeys:int [key@0...] [arg...]"),
    Command::new("fcall_ro", fcall_ro)
        .arity(-3)
        .flags(&[ReadOnly, NoScript, Stale, SkipMonitor, NoMandatoryKeys, Reaches])
        .keys(&[KeySpec::ro(2).counted().access().note("A read-only script may read any of its keys")])
        .group(Group::Scripting)
        .since("7.0.0")
        .complexity("The function's own cost.")
        .summary("Calls a function that may only read.")
        .syntax("function numkeys:int [key@0...] [arg...]"),
    Command::container("function", FUNCTION_SUBCOMMANDS)
        .group(Group::Scripting)
        .since("7.0.0")
        .summary("Libraries of functions kept by the server."),
]);

const FUNCTION_SUBCOMMANDS: &[Command] = &[
    Command::new("delete", function_delete)
        .arity(3)
        .flags(&[Write, NoScript, Gate])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("7.0.0")
        .summary("Removes a library.")
        .syntax("library-name"),
    Command::new("dump", function_dump)
        .arity(2)
        .flags(&[NoScript])
        .group(Group::Scripting)
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Gives all libraries in the form FUNCTION RESTORE reads."),
    Command::new("flush", function_flush)
        .arity(-2)
        .flags(&[Write, NoScript, Gate])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Removes all libraries.")
        .syntax("[flush-type<ASYNC | SYNC>]"),
    Command::new("help", function_help)
        .arity(2)
        .flags(&[Loading, Stale])
        .group(Group::Scripting)
        .since("7.0.0")
        .summary("Lists what FUNCTION can do."),
    Command::new("kill", function_kill)
        .arity(2)
        .flags(&[NoScript, AllowBusy])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .since("7.0.0")
        .summary("Stops the function that is running."),
    Command::new("list", function_list)
        .arity(-2)
        .flags(&[NoScript])
        .group(Group::Scripting)
        .tips(&["nondeterministic_output_order"])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Describes the libraries and their functions.")
        .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]"),
    Command::new("load", function_load)
        .arity(-3)
        .flags(&[Write, DenyOom, NoScript, Gate])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("7.0.0")
        .summary("Adds a library.")
        .syntax("[REPLACE] function-code"),
    Command::new("restore", function_restore)
        .arity(-3)
        .flags(&[Write, DenyOom, NoScript, Gate])
        .group(Group::Scripting)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("7.0.0")
        .complexity("O(N)")
        .summary("Adds the libraries of a dump.")
        .syntax("serialized-value [policy<FLUSH | APPEND | REPLACE>]"),
    Command::new("stats", function_stats)
        .arity(2)
        .flags(&[NoScript, AllowBusy])
        .group(Group::Scripting)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .since("7.0.0")
        .summary("Tells which function runs now, and what the engines hold."),
];

/// How long a library may take to be loaded, milliseconds.
const LOAD_MS_MAX: u64 = 500;
/// How long all libraries of a dump may take, milliseconds.
const RESTORE_MS_MAX: u64 = 5_000;

thread_local! {
    static FUNCTIONS: RefCell<Functions> = RefCell::new(Functions::new(LUA_BYTES_MAX));
}

fn fcall(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call_function(call, reply, false)
}

fn fcall_ro(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call_function(call, reply, true)
}

fn call_function(call: &mut Call<'_>, reply: &mut Reply<'_>, is_read_only: bool) -> Outcome {
    let libraries = call.txn.libraries();
    let Some((loaded, number)) = libraries.find_function(call.args.at(1)) else {
        // Not an `Err`: what is said of the libraries must be in the log before.
        reply.error("ERR Function not found");
        return Ok(());
    };
    let Some(function) = loaded.content.functions.get(number) else { return fail("ERR Function not found") };
    let Some(count) = parse_i64(call.args.at(2)) else { return fail("ERR Bad number of keys provided") };
    let words = call.args.skip(3);
    if count > words.len() as i64 {
        return fail("ERR Number of keys can't be greater than number of args");
    }
    let Ok(count) = usize::try_from(count) else { return fail("ERR Number of keys can't be negative") };
    let is_read_only = check_flags(call, Some(Flags::from_bits(function.flags)), is_read_only)?;
    let keys: WordList<'_> = words.slice(0, count).iter().collect();
    let args: WordList<'_> = words.skip(count).iter().collect();
    let callee = Callee { loading: loaded.id, code: &loaded.content.code, name: &function.name };
    let is_current = |id| libraries.iter().any(|other| other.id == id);
    let mut host = CommandHost::new(call, Some(&function.name), words.slice(0, count), is_read_only);
    let ended = FUNCTIONS
        .with_borrow_mut(|engine| engine.call(&callee, (&keys, &args), &is_current, &mut host, reply));
    host.end(ended)
}

/// A library is loaded to see what it registers. There is nothing it can ask for.
struct LoadHost<'c> {
    clock: &'c Clock,
    until_us: u64,
}

impl<'c> LoadHost<'c> {
    fn new(clock: &'c Clock, ms_max: u64) -> LoadHost<'c> {
        LoadHost { clock, until_us: clock.mono_us() + 1000 * ms_max }
    }
}

impl Host for LoadHost<'_> {
    fn call(&mut self, _: &[&[u8]], _: Proto, _: &mut Vec<u8>) -> Result<(), Stop> {
        Err(Stop::Kill)
    }

    fn tick(&mut self) -> Result<(), Stop> {
        if self.clock.mono_us() > self.until_us { Err(Stop::Kill) } else { Ok(()) }
    }

    fn seed(&mut self) -> u64 {
        0
    }

    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        super::script_host::log(level, text);
    }
}

fn refused(text: Vec<u8>) -> Error {
    Error::Bytes(text)
}

/// Loads the library `code` and adds it to `libraries`. Gives its name.
fn add_library(
    libraries: &mut Libraries,
    code: &[u8],
    replaces: bool,
    host: &mut LoadHost<'_>,
) -> Result<Box<[u8]>, Error> {
    let Shebang { name, body_start } = Shebang::parse(code).map_err(refused)?;
    let is_there = libraries.get(&name).is_some();
    if is_there && !replaces {
        return Err(refused([b"ERR Library '", &name[..], b"' already exists"].concat()));
    }
    let registered = FUNCTIONS.with_borrow_mut(|engine| engine.check(&code[body_start..], host));
    let registered = registered.map_err(|error| match error {
        LoadError::Refused(text) => refused(text),
        LoadError::Stopped(_) => Error::text("ERR Error registering functions: ERR FUNCTION LOAD timeout"),
    })?;
    let function =
        |NewFunction { name, description, flags }| Function { name, description, flags: flags.bits() };
    let functions = registered.into_iter().map(function).collect();
    if is_there {
        libraries.remove(&name);
    }
    let library = Library { name: name.clone(), code: code.into(), functions };
    libraries.add(LoadedLibrary::new(library)).map_err(|name| taken(&name))?;
    Ok(name)
}

/// There is a function of this name already.
fn taken(name: &[u8]) -> Error {
    refused([b"ERR Function ", name, b" already exists"].concat())
}

fn function_load(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let last = call.args.len() - 1;
    let mut replaces = false;
    for word in call.args.slice(2, last).iter() {
        if !word.eq_ignore_ascii_case(b"replace") {
            return Err(refused([b"ERR Unknown option given: ", shown(word)].concat()).into());
        }
        replaces = true;
    }
    let mut libraries = (*call.txn.libraries()).clone();
    let mut host = LoadHost::new(&call.node.clock, LOAD_MS_MAX);
    let name = add_library(&mut libraries, call.args.at(last), replaces, &mut host)?;
    call.txn.set_libraries(libraries)?;
    reply.bulk(&name);
    Ok(())
}

/// Redis shows words as C strings.
fn shown(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn function_delete(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut libraries = (*call.txn.libraries()).clone();
    if !libraries.remove(call.args.at(2)) {
        reply.error("ERR Library not found");
        return Ok(());
    }
    call.txn.set_libraries(libraries)?;
    reply.ok();
    Ok(())
}

/// The subcommand knows fewer words.
fn too_many_words(call: &Call<'_>) -> Outcome {
    let sub = shown(call.args.at(1));
    let sub = &sub[..sub.len().min(128)];
    let text = [b"ERR unknown subcommand or wrong number of arguments for '", sub, b"'. Try FUNCTION HELP."]
        .concat();
    Err(refused(text).into())
}

fn function_flush(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 3 {
        return too_many_words(call);
    }
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if call.args.get(2).is_some_and(|word| !is_mode(word)) {
        return fail("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    }
    call.txn.set_libraries(Libraries::default())?;
    reply.ok();
    Ok(())
}

fn function_dump(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let libraries = call.txn.libraries();
    reply.bulk(&dump_libraries(libraries.iter().map(|loaded| &loaded.content.code[..])));
    Ok(())
}

/// What FUNCTION RESTORE does with the libraries that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

impl Policy {
    fn parse(word: &[u8]) -> Option<Policy> {
        let all = [("flush", Policy::Flush), ("append", Policy::Append), ("replace", Policy::Replace)];
        all.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, policy)| policy)
    }
}

fn function_restore(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 4 {
        return too_many_words(call);
    }
    let policy = match call.args.get(3).map(Policy::parse) {
        None => Policy::Append,
        Some(Some(policy)) => policy,
        Some(None) => {
            return fail("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
        }
    };
    let bad = |error: crate::encoding::dump::BadDump| refused(error.to_string().into_bytes());
    let mut entries = check_dump(call.args.at(2)).map_err(bad)?;
    let mut restored = Libraries::default();
    let mut host = LoadHost::new(&call.node.clock, RESTORE_MS_MAX);
    while !entries.is_empty() {
        let (code, rest) = read_library(entries).map_err(bad)?;
        add_library(&mut restored, &code, false, &mut host)?;
        entries = rest;
    }
    let libraries = match policy {
        Policy::Flush => restored,
        Policy::Append | Policy::Replace => {
            join(&call.txn.libraries(), &restored, policy == Policy::Replace)?
        }
    };
    call.txn.set_libraries(libraries)?;
    reply.ok();
    Ok(())
}

/// The libraries of both; of those with the same name the new one, if that is allowed.
fn join(old: &Libraries, new: &Libraries, replaces: bool) -> Result<Libraries, Error> {
    let mut joined = old.clone();
    for loaded in new.iter() {
        let name = &loaded.content.name;
        if joined.remove(name) && !replaces {
            return Err(refused([b"ERR Library ", &name[..], b" already exists"].concat()));
        }
    }
    for loaded in new.iter() {
        joined.add(Arc::clone(loaded)).map_err(|name| taken(&name))?;
    }
    Ok(joined)
}

fn function_list(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut with_code, mut pattern) = (false, None);
    let mut words = call.args.skip(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            pattern = words.next();
            if pattern.is_none() {
                return fail("ERR library name argument was not given");
            }
        } else {
            return Err(refused([b"ERR Unknown argument ", shown(word)].concat()).into());
        }
    }
    let libraries = call.txn.libraries();
    let is_meant = |loaded: &&Arc<LoadedLibrary>| {
        pattern.is_none_or(|pattern| glob_match(pattern, &loaded.content.name, true))
    };
    reply.array(libraries.iter().filter(is_meant).count());
    for loaded in libraries.iter().filter(is_meant) {
        list_library(reply, &loaded.content, with_code);
    }
    Ok(())
}

fn list_library(reply: &mut Reply<'_>, library: &Library, with_code: bool) {
    reply.map(3 + usize::from(with_code));
    reply.bulk_str("library_name");
    reply.bulk(&library.name);
    reply.bulk_str("engine");
    reply.bulk_str("LUA");
    reply.bulk_str("functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk_str("name");
        reply.bulk(&function.name);
        reply.bulk_str("description");
        match &function.description {
            Some(description) => reply.bulk(description),
            None => reply.null(),
        }
        reply.bulk_str("flags");
        let flags = Flags::from_bits(function.flags);
        reply.set(flags.names().count());
        flags.names().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk_str("library_code");
        reply.bulk(&library.code);
    }
}

fn function_stats(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let libraries = call.txn.libraries();
    reply.map(2);
    reply.bulk_str("running_script");
    match call.node.running_scripts.oldest_function() {
        None => reply.null(),
        Some((running, began_us)) => {
            reply.map(3);
            reply.bulk_str("name");
            reply.bulk(&running.name);
            reply.bulk_str("command");
            let words = running.command.args();
            reply.array(words.len());
            words.iter().for_each(|word| reply.bulk(word));
            reply.bulk_str("duration_ms");
            let took_us = call.node.clock.mono_us().saturating_sub(began_us);
            reply.integer((took_us / 1000).cast_signed());
        }
    }
    reply.bulk_str("engines");
    reply.map(1);
    reply.bulk_str("LUA");
    reply.map(2);
    reply.bulk_str("libraries_count");
    reply.integer(libraries.iter().len() as i64);
    reply.bulk_str("functions_count");
    reply.integer(libraries.function_count() as i64);
    Ok(())
}

fn function_kill(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    match call.node.running_scripts.kill(true) {
        Kill::Told => reply.ok(),
        Kill::Nothing => return fail("NOTBUSY No scripts in execution right now."),
        Kill::OnlyOthers => {
            return fail(BUSY_SCRIPT);
        }
    }
    Ok(())
}

fn function_help(_: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    docs::help(reply, "function", FUNCTION_SUBCOMMANDS);
    Ok(())
}
