//! One Lua interpreter: made, given scripts to compile, made to run them.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]
//!
//! Whatever may raise an error runs inside one protected C function (`make`, `compile`, `run`), which gets a struct of this
//! file by pointer. So no error of Lua, lack of memory included, leaves an [`Interpreter`] other than as a value.

use std::ffi::{c_int, c_void};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};
use mlua::{Lua, LuaOptions, StdLib};

use crate::resp::{Proto, Reply};
use crate::script::host::{Host, Stop};
use crate::script::source::Script;
use crate::script::to_resp::{Step, Unwritten, write_result};
use crate::script::vm::{Run, bytes_at, error_handler, push_bytes, string_at, tick_hook, until_zero};
use crate::script::{TICK_INSTRUCTIONS, sandbox, shims};

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

/// A compiled script within its interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compiled(c_int);

/// A Lua state with the sandbox in it.
pub(super) struct Interpreter {
    run: Box<Run>,
    steps: Vec<Step>,
    /// Where the real table of globals lies in the registry.
    globals: c_int,
    bytes_max: usize,
    state: *mut lua_State,
    /// Owns the state.
    lua: Lua,
}

impl Interpreter {
    /// An interpreter whose data may grow to `bytes_max`. Nothing if there is no memory for it.
    pub fn new(bytes_max: usize) -> Option<Interpreter> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // SAFETY: what these libraries offer beyond the sandbox is out of a script's reach.
        let lua = unsafe { Lua::unsafe_new_with(libraries, LuaOptions::new().catch_rust_panics(false)) };
        let mut state = ptr::null_mut();
        // SAFETY: the pointer lives as long as `lua`.
        unsafe { lua.exec_raw::<()>((), |lua| state = lua).ok()? };
        let mut globals = 0;
        // SAFETY: `make` takes the arguments it is given here; errors end in `exec_raw`.
        unsafe {
            let slot = &raw mut globals;
            lua.exec_raw::<()>((), |lua| *slot = make(lua)).ok()?;
            ffi::lua_sethook(state, Some(tick_hook), ffi::LUA_MASKCOUNT, TICK_INSTRUCTIONS);
        }
        lua.set_memory_limit(bytes_max).ok()?;
        Some(Interpreter { run: Box::new(Run::new()), steps: Vec::new(), globals, bytes_max, state, lua })
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

    /// Runs a script and writes its result or error.
    pub fn run(
        &mut self,
        compiled: Compiled,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let written = reply.len();
        let (state, globals) = (self.state, self.globals);
        let run = ptr::from_mut(&mut *self.run);
        self.steps.clear();
        let mut job = RunJob {
            function: compiled.0,
            globals,
            keys,
            args,
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
                failure.write(script, reply);
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

/// Builds the sandbox and makes it the environment. Answers where the real table of globals lies in the registry.
unsafe fn make(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_settop(lua, 0);
        sandbox::build(lua);
        ffi::lua_replace(lua, ffi::LUA_GLOBALSINDEX);
        let globals = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        ffi::lua_settop(lua, 0);
        globals
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
    function: c_int,
    globals: c_int,
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
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
        ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.globals);
        set_array(lua, c"KEYS".to_bytes(), job.keys);
        set_array(lua, c"ARGV".to_bytes(), job.args);
        ffi::lua_settop(lua, 0);
        ffi::lua_pushcclosure(lua, error_handler, 0);
        ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, job.function);
        if ffi::lua_pcall(lua, 0, 1, 1) != 0 {
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
        ffi::lua_createtable(lua, c_int::try_from(elements.len()).unwrap_or(0), 0);
        for (i, element) in (1..).zip(elements) {
            push_bytes(lua, element);
            ffi::lua_rawseti_(lua, -2, i);
        }
        ffi::lua_rawset(lua, -3);
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

    fn write(&self, script: &Script, reply: &mut Reply<'_>) {
        let sha = script.sha().hex();
        let text = match (&self.place, self.is_plain) {
            (_, true) => [b"ERR Error running script ", &sha[..], b", ", &self.text[..]].concat(),
            (Some(place), _) => [&self.text[..], b" script: ", &sha, b", on ", place, b"."].concat(),
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
