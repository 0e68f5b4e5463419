//! The run in progress, as C functions called by Lua see it, and how they raise errors.
//!
//! Lua raises an error by a jump that skips Rust's destructors. Therefore the rule of every file of this floor that speaks to
//! Lua directly: **while a Lua function is called that may raise, no live value of the frame needs dropping**. What must be
//! dropped lives in [`Run`], which the engine owns. The thread's [`Run`] is found through a cell; it is set for the length
//! of a run and never across threads.
#![allow(
    unsafe_code,
    reason = "Lua's C interface: exact stack levels and error values are beyond the safe one"
)]

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi::{self, lua_State};

use crate::resp::Proto;
use crate::script::host::{Host, Stop};
use crate::script::json_config::JsonConfig;
use crate::script::random::Rand48;
use crate::script::register::Registered;

/// Everything a run needs besides the Lua stack.
pub(super) struct Run {
    /// The host, its lifetime erased: it outlives the run, and the run outlives no call of `Engine::run`.
    host: *mut (dyn Host + 'static),
    /// In which protocol commands answer, and how `true` and `false` are said.
    pub proto: Proto,
    /// Set once the host has ended the run.
    pub stop: Option<Stop>,
    /// A panic of the host, to go on when Lua has been left.
    pub panic: Option<Box<dyn Any + Send>>,
    /// Nothing until the script draws or sets a seed.
    random: Option<Rand48>,
    /// Reply of the last command.
    pub out: Vec<u8>,
    /// Where the libraries build their texts.
    pub scratch: Vec<u8>,
    /// How cjson is set in this run.
    pub json: JsonConfig,
    /// While a library is loaded: the functions it has registered.
    pub registered: Option<Vec<Registered>>,
    /// Words of the command being called; they lie on the Lua stack and live as long as the call.
    words: Vec<&'static [u8]>,
}

thread_local! {
    static RUN: Cell<*mut Run> = const { Cell::new(ptr::null_mut()) };
}

impl Run {
    /// A run that has no host yet.
    pub fn new() -> Run {
        Run {
            host: ptr::null_mut::<NoHost>(),
            proto: Proto::Resp2,
            stop: None,
            panic: None,
            random: None,
            out: Vec::new(),
            scratch: Vec::new(),
            json: JsonConfig::default(),
            registered: None,
            words: Vec::new(),
        }
    }

    /// Makes this the thread's run while `body` runs.
    pub fn enter<T>(&mut self, host: &mut dyn Host, body: impl FnOnce() -> T) -> T {
        struct Leave(*mut Run);
        impl Drop for Leave {
            fn drop(&mut self) {
                RUN.set(self.0);
            }
        }
        // SAFETY: only the lifetime changes; `Leave` takes the run out of reach before `host` ends.
        self.host = unsafe { std::mem::transmute::<&mut dyn Host, *mut (dyn Host + 'static)>(host) };
        self.proto = Proto::Resp2;
        self.stop = None;
        self.panic = None;
        self.random = None;
        self.json = JsonConfig::default();
        let _leave = Leave(RUN.replace(self));
        body()
    }

    /// Lets the host do something; its panic is kept for later. Whether the script may go on.
    fn ask(&mut self, question: impl FnOnce(&mut dyn Host, &mut Run) -> Result<(), Stop>) -> bool {
        // SAFETY: set by `enter`, valid until it returns.
        let host = unsafe { &mut *self.host };
        match catch_unwind(AssertUnwindSafe(|| question(host, self))) {
            Ok(Ok(())) => {}
            Ok(Err(stop)) => self.stop = Some(stop),
            Err(panic) => {
                self.panic = Some(panic);
                self.stop = Some(Stop::Again);
            }
        }
        self.stop.is_none()
    }

    /// Adds zeros.
    pub fn pad_scratch(&mut self, count: usize) {
        self.scratch.resize(self.scratch.len() + count, 0);
    }

    /// Empties the scratch, and gives it back if it has grown large.
    pub fn clear_scratch(&mut self) {
        /// More than most texts need.
        const KEPT_BYTES_MAX: usize = 256 << 10;
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_BYTES_MAX);
    }

    /// Forgets the words of the last command.
    pub fn clear_words(&mut self) {
        self.words.clear();
    }

    /// Adds a word to the next command.
    ///
    /// # Safety
    /// The bytes must stay until the words are cleared.
    pub unsafe fn add_word(&mut self, bytes: *const c_char, len: usize) {
        // SAFETY: by contract; a string of Lua lies where it is while it is on the stack.
        self.words.push(unsafe { bytes_at(bytes, len) });
    }

    /// Runs the command whose words have been added; its reply lies in `out`.
    pub fn call_host(&mut self) -> bool {
        self.ask(|host, run| {
            run.out.clear();
            let proto = run.proto;
            host.call(&run.words, proto, &mut run.out)
        })
    }

    /// Asks whether the user may run the command whose words have been added.
    pub fn may_run(&mut self) -> Option<Option<bool>> {
        let mut answer = None;
        self.ask(|host, run| {
            answer = host.may_run(&run.words);
            Ok(())
        })
        .then_some(answer)
    }

    /// The next of the run's random fractions.
    pub fn draw_fraction(&mut self) -> Option<f64> {
        if self.random.is_none() {
            let mut state = 0;
            if !self.tell(|host| state = host.seed()) {
                return None;
            }
            self.random = Some(Rand48::at(state));
        }
        self.random.as_mut().map(Rand48::draw_fraction)
    }

    /// `math.randomseed`.
    pub fn seed(&mut self, seed: i32) {
        self.random = Some(Rand48::seeded(seed));
    }

    /// Lets the host see that time passes.
    pub fn tick(&mut self) -> bool {
        self.ask(|host, _| host.tick())
    }

    /// Any other word with the host.
    pub fn tell(&mut self, message: impl FnOnce(&mut dyn Host)) -> bool {
        self.ask(|host, _| {
            message(host);
            Ok(())
        })
    }
}

/// Stands where no host is.
struct NoHost;

impl Host for NoHost {
    fn call(&mut self, _: &[&[u8]], _: Proto, _: &mut Vec<u8>) -> Result<(), Stop> {
        Err(Stop::Again)
    }

    fn tick(&mut self) -> Result<(), Stop> {
        Err(Stop::Again)
    }

    fn may_run(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn seed(&mut self) -> u64 {
        0
    }

    fn log(&mut self, _: super::LogLevel, _: &[u8]) {}
}

/// The run in progress on this thread, null if there is none.
pub(super) fn current() -> *mut Run {
    RUN.get()
}

/// Whether the run in progress was ended by its host.
pub(super) fn is_stopped() -> bool {
    let run = current();
    // SAFETY: not null means within `enter`, which holds the run.
    !run.is_null() && unsafe { (*run).stop.is_some() }
}

/// The run in progress; raises `why` if there is none, and goes on unwinding if it was stopped.
pub(super) unsafe fn current_or_raise(lua: *mut lua_State, why: &CStr) -> *mut Run {
    let run = current();
    if run.is_null() {
        unsafe {
            push_error(lua, why.to_bytes());
            ffi::lua_error(lua);
        }
    }
    if is_stopped() {
        unsafe { raise_stop(lua) };
    }
    run
}

/// The bytes of a Lua string.
///
/// # Safety
/// They must stay where they are as long as the slice is used.
pub(super) unsafe fn bytes_at<'a>(start: *const c_char, len: usize) -> &'a [u8] {
    if start.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(start.cast(), len) } }
}

/// The bytes of the string at `index`, nothing if it is no string. Numbers are not converted.
///
/// # Safety
/// The string must stay on the stack as long as the slice is used.
pub(super) unsafe fn string_at<'a>(lua: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    unsafe {
        if ffi::lua_type(lua, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut len = 0;
        let start = ffi::lua_tolstring(lua, index, &raw mut len);
        Some(bytes_at(start, len))
    }
}

/// Pushes a string.
pub(super) unsafe fn push_bytes(lua: *mut lua_State, bytes: &[u8]) {
    unsafe { ffi::lua_pushlstring_(lua, bytes.as_ptr().cast(), bytes.len()) }
}

/// Raises a text with the place of the caller before it, as Lua's own functions do.
pub(super) unsafe fn raise_at_caller(lua: *mut lua_State, text: &[u8]) -> ! {
    unsafe {
        ffi::luaL_where(lua, 1);
        push_bytes(lua, text);
        ffi::lua_concat(lua, 2);
        ffi::lua_error(lua)
    }
}

/// Raises a text as it is.
pub(super) unsafe fn raise(lua: *mut lua_State, text: &[u8]) -> ! {
    unsafe {
        push_bytes(lua, text);
        ffi::lua_error(lua)
    }
}

/// Goes on unwinding a run that the host has ended.
pub(super) unsafe fn raise_stop(lua: *mut lua_State) -> ! {
    let run = current();
    unsafe {
        if !run.is_null() && (*run).stop == Some(Stop::Kill) {
            push_error(lua, b"Script killed by user with SCRIPT KILL...");
        } else {
            ffi::lua_pushboolean(lua, 0);
        }
        ffi::lua_error(lua)
    }
}

/// Why a value of Lua is not written into a text to its end.
pub(super) enum Unended {
    /// The run is to end.
    Stopped,
    /// The text is longer than Lua could hold.
    TooLong,
}

/// Asked before each table that goes into a text of so many bytes: tables that hold each other many times make much of little.
pub(super) unsafe fn may_go_on(bytes: usize) -> Result<(), Unended> {
    /// As much as a script's data in all.
    const TEXT_BYTES_MAX: usize = 256 << 20;
    let run = current();
    if bytes > TEXT_BYTES_MAX {
        Err(Unended::TooLong)
    } else if run.is_null() || unsafe { (*run).tick() } {
        Ok(())
    } else {
        Err(Unended::Stopped)
    }
}

/// Ends what was not written to its end.
pub(super) unsafe fn raise_unended(lua: *mut lua_State, why: Unended) -> ! {
    match why {
        Unended::Stopped => unsafe { raise_stop(lua) },
        Unended::TooLong => unsafe { raise(lua, b"not enough memory") },
    }
}

/// Pushes the table that stands for an error: `{err = "CODE text"}`. A text that begins with `-` brings its code, any other
/// one is an `ERR`. Bytes behind a zero are lost, line ends around the text go.
pub(super) unsafe fn push_error(lua: *mut lua_State, text: &[u8]) {
    let text = until_zero(text);
    let (code, text) = match text.strip_prefix(b"-") {
        None => (&b"ERR"[..], text),
        Some(text) => match text.iter().position(|&b| b == b' ') {
            Some(space) => (&text[..space], &text[space + 1..]),
            None => (&b"ERR"[..], text),
        },
    };
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_pushstring_(lua, c"err".as_ptr());
        push_bytes(lua, code);
        push_bytes(lua, b" ");
        push_bytes(lua, without_line_ends(text));
        ffi::lua_concat(lua, 3);
        ffi::lua_rawset(lua, -3);
    }
}

/// What C sees of a text: all before the first zero.
pub(super) fn until_zero(text: &[u8]) -> &[u8] {
    text.iter().position(|&b| b == 0).map_or(text, |end| &text[..end])
}

fn without_line_ends(text: &[u8]) -> &[u8] {
    let is_text = |b: &u8| *b != b'\r' && *b != b'\n';
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Lua collects again when its data has grown to so much of what the last collection left, percent: most of what it looks through
/// each time are compiled scripts, which stay.
pub(super) const PAUSE_PERCENT: c_int = 400;
/// Lua's own pause, percent, for runs with more than so much data, kilobytes: they must stay within their bound.
const LARGE_PAUSE_PERCENT: c_int = 200;
const LARGE_KB: c_int = 16 << 10;

/// Called by Lua every so many instructions.
pub(super) unsafe extern "C-unwind" fn tick_hook(lua: *mut lua_State, _: *mut ffi::lua_Debug) {
    let run = current();
    if run.is_null() {
        return;
    }
    unsafe {
        if ffi::lua_gc(lua, ffi::LUA_GCCOUNT, 0) > LARGE_KB {
            ffi::lua_gc(lua, ffi::LUA_GCSETPAUSE, LARGE_PAUSE_PERCENT);
        }
        if (*run).stop.is_some() || !(*run).tick() {
            raise_stop(lua);
        }
    }
}

/// Makes the error value of a run a table with the place where it was raised: the function that raised it, or its caller if it is
/// one of C. `source` and `line` are added, as scripts that catch errors with this very function (`__redis__err__handler`) expect.
pub(super) unsafe extern "C-unwind" fn error_handler(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_settop(lua, 1);
        let mut place: ffi::lua_Debug = std::mem::zeroed();
        let mut is_known = ffi::lua_getstack(lua, 1, &raw mut place) != 0;
        if is_known {
            ffi::lua_getinfo(lua, c"Sl".as_ptr(), &raw mut place);
            if CStr::from_ptr(place.what) == c"C" {
                // The outermost one is the engine itself.
                let mut outermost: ffi::lua_Debug = std::mem::zeroed();
                is_known = ffi::lua_getstack(lua, 3, &raw mut outermost) != 0
                    && ffi::lua_getstack(lua, 2, &raw mut place) != 0;
                if is_known {
                    ffi::lua_getinfo(lua, c"Sl".as_ptr(), &raw mut place);
                }
            }
        }
        if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE {
            ffi::lua_createtable(lua, 0, 3);
            ffi::lua_pushstring_(lua, c"ERR ".as_ptr());
            ffi::luaL_tolstring(lua, 1, ptr::null_mut());
            ffi::lua_concat(lua, 2);
            ffi::lua_setfield(lua, -2, c"err".as_ptr());
            ffi::lua_replace(lua, 1);
        }
        if is_known {
            ffi::lua_pushstring_(lua, place.source);
            ffi::lua_setfield(lua, 1, c"source".as_ptr());
            ffi::lua_pushinteger(lua, place.currentline as ffi::lua_Integer);
            ffi::lua_setfield(lua, 1, c"line".as_ptr());
        }
        1
    }
}
