//! One Lua interpreter: made, given scripts to compile or libraries to load, made to run them.
//!
//! Whatever may raise an error runs inside one protected C function (`make`, `compile`, `load`, `run_script`), which gets a struct of
//! this file by pointer. So no error of Lua, lack of memory included, leaves an [`Interpreter`] other than as a value.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{c_int, c_void};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};
use mlua::{Lua, LuaOptions, StdLib};

use crate::resp::{Proto, Reply};
use crate::script::host::{Host, Stop};
use crate::script::register::Registered;
use crate::script::sandbox::Guest;
use crate::script::source::Sha;
use crate::script::to_resp::{Step, Unwritten, write_result};
use crate::script::vm::{Run, bytes_at, error_handler, push_bytes, string_at, tick_hook, until_zero};
use crate::script::{TICK_INSTRUCTIONS, sandbox, shims, vm};

/// A reply buffer of a command that has grown beyond this is given back.
const KEPT_BYTES_MAX: usize = 256 << 10;
/// What Redis shows at most of an error that is no table.
const PLAIN_ERROR_BYTES_MAX: usize = 100;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The script's result is written.
    Done,
    /// The script raised an error, which is written.
    Failed {
        /// It is the error of a command, which has been counted already.
        is_counted: bool,
    },
    /// The host has ended the run with [`Stop::Again`]; nothing is written.
    Stopped,
}

/// A compiled script, or a function of a library, within its interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compiled(pub c_int);

/// How errors name a script or a function.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Script(Sha),
    Function(&'a [u8]),
}

/// What is to be run.
pub(super) struct Call<'a> {
    pub compiled: Compiled,
    /// How errors name it.
    pub name: Name<'a>,
    pub keys: &'a [&'a [u8]],
    pub args: &'a [&'a [u8]],
}

/// Why a library was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The client's fault, with its code.
    Refused(Vec<u8>),
    /// The host has ended the run.
    Stopped(Stop),
}

/// Where the sandbox's parts lie in Lua's registry.
#[derive(Clone, Copy)]
struct Places {
    /// The real table of globals.
    globals: c_int,
    /// The function that completes errors.
    error_handler: c_int,
    /// For functions: the metatable of the environment, and the one it has while a library is loaded.
    metatables: Option<(c_int, c_int)>,
}

/// A Lua state with the sandbox in it.
pub(super) struct Interpreter {
    run: Box<Run>,
    steps: Vec<Step>,
    places: Places,
    bytes_max: usize,
    state: *mut lua_State,
    /// Owns the state.
    lua: Lua,
}

impl Interpreter {
    /// An interpreter whose data may grow to `bytes_max`. Nothing if there is no memory for it.
    pub fn new(guest: Guest, bytes_max: usize) -> Option<Interpreter> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // SAFETY: what these libraries offer beyond the sandbox is out of a script's reach.
        let lua = unsafe { Lua::unsafe_new_with(libraries, LuaOptions::new().catch_rust_panics(false)) };
        let mut state = ptr::null_mut();
        // SAFETY: the pointer lives as long as `lua`.
        unsafe { lua.exec_raw::<()>((), |lua| state = lua).ok()? };
        let mut places = Places { globals: 0, error_handler: 0, metatables: None };
        // SAFETY: `make` takes the arguments it is given here; errors end in `exec_raw`.
        unsafe {
            let slot = &raw mut places;
            lua.exec_raw::<()>((), |lua| *slot = make(lua, guest)).ok()?;
            ffi::lua_sethook(state, Some(tick_hook), ffi::LUA_MASKCOUNT, TICK_INSTRUCTIONS);
            ffi::lua_gc(state, ffi::LUA_GCSETPAUSE, vm::PAUSE_PERCENT);
        }
        lua.set_memory_limit(bytes_max).ok()?;
        Some(Interpreter { run: Box::new(Run::new()), steps: Vec::new(), places, bytes_max, state, lua })
    }

    /// Bytes in use by Lua.
    pub fn used_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script. The error is Lua's text.
    pub fn compile(&mut self, body: &[u8]) -> Result<Compiled, Vec<u8>> {
        let mut job = CompileJob { body, compiled: 0, error: Vec::new() };
        // SAFETY: `compile` takes a pointer to this struct.
        match unsafe { self.protected(compile, (&raw mut job).cast()) } {
            Ok(()) if job.error.is_empty() => Ok(Compiled(job.compiled)),
            Ok(()) => Err(job.error),
            Err(error) => Err(error),
        }
    }

    /// Lets go of a compiled script.
    pub fn forget(&mut self, compiled: Compiled) {
        // SAFETY: a number from `luaL_ref`; giving one back raises nothing.
        unsafe { ffi::luaL_unref(self.state, ffi::LUA_REGISTRYINDEX, compiled.0) };
    }

    /// Runs a library's text, which registers its functions. They stay until they are forgotten.
    pub fn load(&mut self, body: &[u8], host: &mut dyn Host) -> Result<Vec<Registered>, LoadError> {
        let state = self.state;
        let run = ptr::from_mut(&mut *self.run);
        let mut job = LoadJob { body, run, error: None };
        let pointer = (&raw mut job).cast();
        // SAFETY: `load` takes a pointer to this struct; the run is lent to the host and to Lua alone.
        let result = unsafe {
            self.set_environment(true);
            let result = (*run).enter(host, || {
                (*run).registered = Some(Vec::new());
                protected(state, load, pointer)
            });
            self.set_environment(false);
            result
        };
        let error = job.error.take().or(result.err());
        let registered = self.run.registered.take().unwrap_or_default();
        self.settle();
        if error.is_none() && self.run.stop.is_none() && self.run.panic.is_none() {
            return Ok(registered);
        }
        registered.iter().for_each(|function| self.forget(function.compiled()));
        self.collect();
        if let Some(panic) = self.run.panic.take() {
            std::panic::resume_unwind(panic);
        }
        match self.run.stop {
            Some(stop) => Err(LoadError::Stopped(stop)),
            None => Err(LoadError::Refused(error.unwrap_or_default())),
        }
    }

    /// Makes the environment that of a library being loaded, or that of functions.
    unsafe fn set_environment(&mut self, is_loading: bool) {
        let Some((running, loading)) = self.places.metatables else { return };
        unsafe {
            let top = ffi::lua_gettop(self.state);
            ffi::lua_pushvalue(self.state, ffi::LUA_GLOBALSINDEX);
            let number = if is_loading { loading } else { running };
            ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, number);
            ffi::lua_setmetatable(self.state, -2);
            ffi::lua_settop(self.state, top);
        }
    }

    /// Runs a script or a function and writes its result or error.
    pub fn run(&mut self, call: &Call<'_>, host: &mut dyn Host, reply: &mut Reply<'_>) -> Outcome {
        let written = reply.len();
        let (state, places) = (self.state, self.places);
        let run = ptr::from_mut(&mut *self.run);
        self.steps.clear();
        let mut job = RunJob {
            call,
            places,
            run,
            steps: &mut self.steps,
            bytes_max: self.bytes_max,
            reply,
            error: None,
        };
        let pointer = (&raw mut job).cast();
        // SAFETY: `run_script` takes a pointer to this struct; the run is lent to the host and to Lua alone.
        let result = unsafe { (*run).enter(host, || protected(state, run_script, pointer)) };
        let failure = job.error.take();
        let failure = match result {
            Ok(()) => failure,
            Err(text) => {
                self.collect();
                Some(Failure::plain(&text))
            }
        };
        self.settle();
        if let Some(panic) = self.run.panic.take() {
            std::panic::resume_unwind(panic);
        }
        if self.run.stop == Some(Stop::Again) {
            reply.truncate(written);
            return Outcome::Stopped;
        }
        match failure {
            None => Outcome::Done,
            Some(failure) => {
                reply.truncate(written);
                failure.write(call.name, reply);
                Outcome::Failed { is_counted: failure.is_counted }
            }
        }
    }

    /// Gives back what a large run has left behind.
    fn settle(&mut self) {
        if self.run.out.capacity() > KEPT_BYTES_MAX {
            self.run.out = Vec::new();
        }
        if self.used_bytes() > self.bytes_max / 2 {
            self.collect();
        }
        // SAFETY: it only sets a number.
        unsafe { ffi::lua_gc(self.state, ffi::LUA_GCSETPAUSE, vm::PAUSE_PERCENT) };
    }

    fn collect(&mut self) {
        // SAFETY: nothing of ours has finalizers that raise.
        unsafe { ffi::lua_gc(self.state, ffi::LUA_GCCOLLECT, 0) };
    }

    /// See [`protected`].
    unsafe fn protected(&mut self, function: lua_CFunction, data: *mut c_void) -> Result<(), Vec<u8>> {
        unsafe { protected(self.state, function, data) }
    }
}

/// Calls a C function so that its errors come back as text.
unsafe fn protected(lua: *mut lua_State, function: lua_CFunction, data: *mut c_void) -> Result<(), Vec<u8>> {
    unsafe {
        let top = ffi::lua_gettop(lua);
        if ffi::lua_cpcall(lua, function, data) == 0 {
            return Ok(());
        }
        let text = string_at(lua, -1).unwrap_or(b"execution failure").to_vec();
        ffi::lua_settop(lua, top);
        Err(text)
    }
}

/// Builds the sandbox and makes it the environment. Answers where its parts lie in the registry.
unsafe fn make(lua: *mut lua_State, guest: Guest) -> Places {
    unsafe {
        ffi::lua_settop(lua, 0);
        sandbox::build(lua, guest);
        ffi::lua_replace(lua, ffi::LUA_GLOBALSINDEX);
        let globals = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        ffi::lua_pushcclosure(lua, error_handler, 0);
        let error_handler = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        let mut places = Places { globals, error_handler, metatables: None };
        if guest == Guest::Functions {
            ffi::lua_pushvalue(lua, ffi::LUA_GLOBALSINDEX);
            let running = metatable_place(lua);
            sandbox::build_loading(lua);
            places.metatables = Some((running, metatable_place(lua)));
        }
        ffi::lua_settop(lua, 0);
        places
    }
}

/// Puts the metatable of the table on top into the registry.
unsafe fn metatable_place(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_getmetatable(lua, -1);
        ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX)
    }
}

struct LoadJob<'a> {
    body: &'a [u8],
    run: *mut Run,
    error: Option<Vec<u8>>,
}

unsafe extern "C-unwind" fn load(lua: *mut lua_State) -> c_int {
    unsafe {
        let job = &mut *ffi::lua_touserdata(lua, 1).cast::<LoadJob<'_>>();
        ffi::lua_settop(lua, 0);
        if shims::compile(lua, job.body, c"@user_function".as_ptr()) != 0 {
            let text = until_zero(string_at(lua, -1).unwrap_or(b"?"));
            job.error = Some([b"ERR Error compiling function: ", text].concat());
            return 0;
        }
        if ffi::lua_pcall(lua, 0, 0, 0) == 0 || (*job.run).stop.is_some() {
            return 0;
        }
        // Redis names the code of the error within the text, too.
        let (code, text) = match ffi::lua_isstring(lua, 1) {
            0 if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE => (&b""[..], &b"ERR unknown error"[..]),
            0 => {
                ffi::lua_checkstack(lua, 2);
                push_bytes(lua, b"err");
                ffi::lua_rawget_(lua, 1);
                (&b""[..], string_at(lua, -1).unwrap_or(b"ERR unknown error"))
            }
            _ => {
                let mut len = 0;
                let start = ffi::lua_tolstring(lua, 1, &raw mut len);
                (&b"ERR "[..], bytes_at(start, len))
            }
        };
        job.error = Some([b"ERR Error registering functions: ", code, until_zero(text)].concat());
        0
    }
}

struct CompileJob<'a> {
    body: &'a [u8],
    compiled: c_int,
    error: Vec<u8>,
}

unsafe extern "C-unwind" fn compile(lua: *mut lua_State) -> c_int {
    unsafe {
        let job = &mut *ffi::lua_touserdata(lua, 1).cast::<CompileJob<'_>>();
        if shims::compile(lua, job.body, c"@user_script".as_ptr()) == 0 {
            job.compiled = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        } else {
            job.error = until_zero(string_at(lua, -1).unwrap_or(b"?")).to_vec();
        }
        0
    }
}

struct RunJob<'a, 'b> {
    call: &'a Call<'a>,
    places: Places,
    run: *mut Run,
    steps: &'a mut Vec<Step>,
    bytes_max: usize,
    reply: &'a mut Reply<'b>,
    error: Option<Failure>,
}

unsafe extern "C-unwind" fn run_script(lua: *mut lua_State) -> c_int {
    unsafe {
        let job = &mut *ffi::lua_touserdata(lua, 1).cast::<RunJob<'_, '_>>();
        ffi::lua_settop(lua, 0);
        ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.places.error_handler);
        let arguments = if job.places.metatables.is_some() {
            ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.call.compiled.0);
            push_array(lua, job.call.keys);
            push_array(lua, job.call.args);
            2
        } else {
            ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.places.globals);
            set_array(lua, c"KEYS".to_bytes(), job.call.keys);
            set_array(lua, c"ARGV".to_bytes(), job.call.args);
            ffi::lua_settop(lua, 1);
            ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.call.compiled.0);
            0
        };
        if ffi::lua_pcall(lua, arguments, 1, 1) != 0 {
            if (*job.run).stop != Some(Stop::Again) {
                job.error = Some(Failure::of_top(lua));
            }
            return 0;
        }
        if (*job.run).stop.is_some() {
            // Nothing catches a stop; should anything ever do so, what it made of it is not shown.
            job.error = Some(Failure::plain(b"Script killed by user with SCRIPT KILL..."));
            return 0;
        }
        let proto: Proto = (*job.run).proto;
        let too_long = match write_result(lua, job.reply, proto, job.bytes_max, job.steps) {
            Ok(()) => None,
            Err(Unwritten::TooLong) => Some(Failure::plain(b"the reply is too long")),
            Err(Unwritten::Stopped) => Some(Failure::plain(b"Script killed by user with SCRIPT KILL...")),
        };
        if too_long.is_some() {
            job.error = too_long;
        }
        0
    }
}

/// Sets a global of the table on top to an array of strings.
unsafe fn set_array(lua: *mut lua_State, name: &[u8], elements: &[&[u8]]) {
    unsafe {
        push_bytes(lua, name);
        push_array(lua, elements);
        ffi::lua_rawset(lua, -3);
    }
}

unsafe fn push_array(lua: *mut lua_State, elements: &[&[u8]]) {
    unsafe {
        ffi::lua_createtable(lua, c_int::try_from(elements.len()).unwrap_or(0), 0);
        for (i, element) in (1..).zip(elements) {
            push_bytes(lua, element);
            ffi::lua_rawseti_(lua, -2, i);
        }
    }
}

/// An error that a script has raised.
struct Failure {
    text: Vec<u8>,
    /// Text is not the client's yet: the script is named before it.
    is_plain: bool,
    /// Where: source and line, ` script: <sha>, on <place>.`
    place: Option<Vec<u8>>,
    is_counted: bool,
}

impl Failure {
    fn plain(text: &[u8]) -> Failure {
        let text = &text[..text.len().min(PLAIN_ERROR_BYTES_MAX)];
        Failure { text: text.to_vec(), is_plain: true, place: None, is_counted: false }
    }

    /// The error value on top, which the error handler has made a table. Fields are read without metamethods.
    unsafe fn of_top(lua: *mut lua_State) -> Failure {
        unsafe {
            if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
                return Failure::plain(until_zero(string_at(lua, -1).unwrap_or(b"execution failure")));
            }
            // All that may raise comes before the first allocation.
            let text = text_field(lua, b"err").unwrap_or(b"ERR unknown error");
            let (source, line) = (text_field(lua, b"source"), text_field(lua, b"line"));
            push_bytes(lua, b"ignore_error_stats_update");
            ffi::lua_rawget_(lua, 2);
            let is_counted = ffi::lua_toboolean(lua, -1) != 0;
            let place = source.zip(line).map(|(source, line)| [source, b":", line].concat());
            Failure { text: text.to_vec(), is_plain: false, place, is_counted }
        }
    }

    fn write(&self, name: Name<'_>, reply: &mut Reply<'_>) {
        let hex;
        let name = match name {
            Name::Function(name) => name,
            Name::Script(sha) => {
                hex = sha.hex();
                &hex[..]
            }
        };
        let text = match (&self.place, self.is_plain) {
            (_, true) => [b"ERR Error running script ", name, b", ", &self.text[..]].concat(),
            (Some(place), _) => [&self.text[..], b" script: ", name, b", on ", place, b"."].concat(),
            (None, _) => self.text.clone(),
        };
        reply.error_bytes(&text);
    }
}

/// The text of a field of the error at slot 2; it stays on the stack.
unsafe fn text_field<'a>(lua: *mut lua_State, name: &[u8]) -> Option<&'a [u8]> {
    unsafe {
        push_bytes(lua, name);
        ffi::lua_rawget_(lua, 2);
        if ffi::lua_isstring(lua, -1) == 0 {
            return None;
        }
        let mut len = 0;
        let start = ffi::lua_tolstring(lua, -1, &raw mut len);
        Some(until_zero(bytes_at(start, len)))
    }
}
