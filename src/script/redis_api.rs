//! The functions of the table `redis`: calling commands, replies to hand back, the log.
//!
//! Each function is one that Lua calls directly, so that an error carries the place in the script where it was called, tail calls
//! included. Checks come in Redis' order with its texts.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::base::number::{IntText, write_f64};
use crate::resp::Proto;
use crate::script::from_resp::push_reply;
use crate::script::host::LogLevel;
use crate::script::register::register_function;
use crate::script::source::Sha;
use crate::script::vm::{
    Run, current_or_raise, push_bytes, push_error, raise, raise_at_caller, raise_stop, string_at, until_zero,
};

/// The functions, by name, that scripts and functions find.
pub(super) const FUNCTIONS: &[(&str, lua_CFunction)] = &[
    ("call", call),
    ("pcall", pcall),
    ("log", log),
    ("setresp", set_resp),
    ("sha1hex", sha1_hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("set_repl", set_propagation),
    ("acl_check_cmd", acl_check_command),
];

/// Those that only EVAL's scripts find.
pub(super) const SCRIPT_FUNCTIONS: &[(&str, lua_CFunction)] =
    &[("breakpoint", breakpoint), ("debug", debug), ("replicate_commands", replicate_commands)];

/// Those that a library of functions finds while it is loaded.
pub(super) const LIBRARY_FUNCTIONS: &[(&str, lua_CFunction)] =
    &[("register_function", register_function), ("log", log)];

/// The numbers beside them.
pub(super) const CONSTANTS: &[(&str, i32)] =
    &[("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

/// The numbers that are there even while a library is loaded.
pub(super) const LIBRARY_CONSTANTS: &[(&str, i32)] = &[
    ("LOG_DEBUG", 0),
    ("LOG_VERBOSE", 1),
    ("LOG_NOTICE", 2),
    ("LOG_WARNING", 3),
    ("REDIS_VERSION_NUM", 0x0008_0203),
];

/// The functions that replace those of `math`.
pub(super) const MATH: &[(&str, lua_CFunction)] = &[("random", random), ("randomseed", random_seed)];

unsafe extern "C-unwind" fn call(lua: *mut lua_State) -> c_int {
    unsafe { run_command(lua, true) }
}

unsafe extern "C-unwind" fn pcall(lua: *mut lua_State) -> c_int {
    unsafe { run_command(lua, false) }
}

/// Runs a command; its error is raised, or returned as a table.
unsafe fn run_command(lua: *mut lua_State, raises: bool) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"redis.call/pcall can only be called inside a script invocation");
        if !gather_words(lua, run) {
            return if raises { ffi::lua_error(lua) } else { 1 };
        }
        let may_go_on = (*run).call_host();
        (*run).clear_words();
        if !may_go_on {
            raise_stop(lua);
        }
        ffi::lua_settop(lua, 0);
        // The reply lies still: nothing that is called here runs a command.
        let reply = std::slice::from_raw_parts((*run).out.as_ptr(), (*run).out.len());
        let is_whole = push_reply(lua, reply, (*run).proto == Proto::Resp2);
        if !is_whole {
            raise(lua, b"a reply that cannot be read");
        }
        if raises && reply.first() == Some(&b'-') {
            ffi::lua_error(lua);
        }
        1
    }
}

/// Adds the arguments on the stack to the run's words. If they cannot be words, pushes the error.
unsafe fn gather_words(lua: *mut lua_State, run: *mut Run) -> bool {
    unsafe {
        (*run).clear_words();
        let count = ffi::lua_gettop(lua);
        if count == 0 {
            push_error(lua, b"Please specify at least one argument for this redis lib call");
            return false;
        }
        for i in 1..=count {
            match ffi::lua_type(lua, i) {
                ffi::LUA_TSTRING => {}
                ffi::LUA_TNUMBER => {
                    let number = ffi::lua_tonumber(lua, i);
                    push_number_text(lua, number);
                    ffi::lua_replace(lua, i);
                }
                _ => {
                    (*run).clear_words();
                    push_error(lua, b"Lua redis lib command arguments must be strings or integers");
                    return false;
                }
            }
            let mut len = 0;
            let start = ffi::lua_tolstring(lua, i, &raw mut len);
            (*run).add_word(start, len);
        }
        true
    }
}

/// Pushes the text of a number as commands get it: an integer if it is one, else the shortest text that reads back the same.
unsafe fn push_number_text(lua: *mut lua_State, number: f64) {
    let as_integer = number as i64;
    unsafe {
        if as_integer as f64 == number && as_integer != i64::MAX && as_integer != i64::MIN {
            push_bytes(lua, IntText::new(as_integer).as_bytes());
        } else if number.is_nan() {
            push_bytes(lua, if number.is_sign_negative() { b"-nan" } else { b"nan" });
        } else {
            let mut text = [0; 40];
            let len = write_text(&mut text, number);
            push_bytes(lua, &text[..len]);
        }
    }
}

/// Writes the number into a buffer that needs no dropping.
fn write_text(text: &mut [u8; 40], number: f64) -> usize {
    let mut out = Vec::with_capacity(text.len());
    write_f64(&mut out, number);
    let len = out.len().min(text.len());
    text[..len].copy_from_slice(&out[..len]);
    len
}

unsafe extern "C-unwind" fn sha1_hex(lua: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            push_error(lua, b"wrong number of arguments");
            ffi::lua_error(lua);
        }
        let mut len = 0;
        let start = ffi::lua_tolstring(lua, 1, &raw mut len);
        let hex = Sha::of(super::vm::bytes_at(start, len)).hex();
        push_bytes(lua, &hex);
        1
    }
}

unsafe extern "C-unwind" fn error_reply(lua: *mut lua_State) -> c_int {
    unsafe {
        let text = if ffi::lua_gettop(lua) == 1 { string_at(lua, 1) } else { None };
        match text.map(until_zero) {
            None => push_error(lua, b"wrong number or type of arguments"),
            Some(text) if text.starts_with(b"-") => push_error(lua, text),
            Some(text) => {
                push_bytes(lua, b"-");
                push_bytes(lua, text);
                ffi::lua_concat(lua, 2);
                push_error(lua, string_at(lua, -1).unwrap_or_default());
            }
        }
        1
    }
}

unsafe extern "C-unwind" fn status_reply(lua: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(lua) != 1 || ffi::lua_type(lua, 1) != ffi::LUA_TSTRING {
            push_error(lua, b"wrong number or type of arguments");
            return 1;
        }
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_setfield(lua, -2, c"ok".as_ptr());
        1
    }
}

unsafe extern "C-unwind" fn set_propagation(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"redis.set_repl can only be called inside a script invocation");
        if ffi::lua_gettop(lua) != 1 {
            push_error(lua, b"redis.set_repl() requires one argument.");
            ffi::lua_error(lua);
        }
        let bits = to_int(ffi::lua_tonumber(lua, 1));
        if bits & !3 != 0 {
            push_error(lua, b"Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
            ffi::lua_error(lua);
        }
        if !(*run).tell(|host| host.set_propagation(bits as u8)) {
            raise_stop(lua);
        }
        0
    }
}

unsafe extern "C-unwind" fn acl_check_command(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"redis.acl_check_cmd can only be called inside a script invocation");
        if !gather_words(lua, run) {
            ffi::lua_error(lua);
        }
        let answer = (*run).may_run();
        (*run).clear_words();
        match answer {
            None => raise_stop(lua),
            Some(None) => {
                push_error(lua, b"Invalid command passed to redis.acl_check_cmd()");
                ffi::lua_error(lua);
            }
            Some(Some(may_run)) => ffi::lua_pushboolean(lua, c_int::from(may_run)),
        }
        1
    }
}

unsafe extern "C-unwind" fn log(lua: *mut lua_State) -> c_int {
    unsafe {
        let count = ffi::lua_gettop(lua);
        if count < 2 {
            push_error(lua, b"redis.log() requires two arguments or more.");
            ffi::lua_error(lua);
        }
        if ffi::lua_isnumber(lua, 1) == 0 {
            push_error(lua, b"First argument must be a number (log level).");
            ffi::lua_error(lua);
        }
        let level = match to_int(ffi::lua_tonumber(lua, 1)) {
            0 => LogLevel::Debug,
            1 => LogLevel::Verbose,
            2 => LogLevel::Notice,
            3 => LogLevel::Warning,
            _ => {
                push_error(lua, b"Invalid log level.");
                ffi::lua_error(lua);
            }
        };
        // All strings and numbers with blanks between, built on the Lua stack.
        push_bytes(lua, b"");
        for i in 2..=count {
            if ffi::lua_isstring(lua, i) != 0 {
                if i > 2 {
                    push_bytes(lua, b" ");
                    ffi::lua_concat(lua, 2);
                }
                ffi::lua_pushvalue(lua, i);
                ffi::lua_concat(lua, 2);
            }
        }
        let run = super::vm::current();
        let text = string_at(lua, -1).unwrap_or_default();
        if !run.is_null() && !(*run).tell(|host| host.log(level, text)) {
            raise_stop(lua);
        }
        0
    }
}

unsafe extern "C-unwind" fn set_resp(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"redis.setresp can only be called inside a script invocation");
        if ffi::lua_gettop(lua) != 1 {
            push_error(lua, b"redis.setresp() requires one argument.");
            ffi::lua_error(lua);
        }
        (*run).proto = match to_int(ffi::lua_tonumber(lua, 1)) {
            2 => Proto::Resp2,
            3 => Proto::Resp3,
            _ => {
                push_error(lua, b"RESP version must be 2 or 3.");
                ffi::lua_error(lua);
            }
        };
        0
    }
}

/// There is no debugger: never stops.
unsafe extern "C-unwind" fn breakpoint(lua: *mut lua_State) -> c_int {
    unsafe { ffi::lua_pushboolean(lua, 0) };
    1
}

/// There is no debugger: says nothing.
unsafe extern "C-unwind" fn debug(_: *mut lua_State) -> c_int {
    0
}

/// Nothing to choose any more: always true.
unsafe extern "C-unwind" fn replicate_commands(lua: *mut lua_State) -> c_int {
    unsafe { ffi::lua_pushboolean(lua, 1) };
    1
}

/// A number as C's conversion to `int` makes it: what does not fit becomes the least one.
fn to_int(number: f64) -> i32 {
    let whole = number.trunc();
    if whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX) { whole as i32 } else { i32::MIN }
}

/// Argument `i` as Lua's own functions make it an `int`: by way of 64 bits, of which the lower half stays.
unsafe fn check_int(lua: *mut lua_State, i: c_int) -> i32 {
    unsafe { ffi::luaL_checkinteger(lua, i) as i32 }
}

unsafe extern "C-unwind" fn random(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"math.random can only be called inside a script invocation");
        let Some(fraction) = (*run).draw_fraction() else { raise_stop(lua) };
        let number = match ffi::lua_gettop(lua) {
            0 => fraction,
            1 => {
                let max = check_int(lua, 1);
                if max < 1 {
                    ffi::luaL_argerror(lua, 1, c"interval is empty".as_ptr());
                }
                (fraction * f64::from(max)).floor() + 1.0
            }
            2 => {
                let (min, max) = (check_int(lua, 1), check_int(lua, 2));
                if min > max {
                    ffi::luaL_argerror(lua, 2, c"interval is empty".as_ptr());
                }
                let width = max.wrapping_sub(min).wrapping_add(1);
                (fraction * f64::from(width)).floor() + f64::from(min)
            }
            _ => raise_at_caller(lua, b"wrong number of arguments"),
        };
        ffi::lua_pushnumber(lua, number);
        1
    }
}

unsafe extern "C-unwind" fn random_seed(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current_or_raise(lua, c"math.randomseed can only be called inside a script invocation");
        let seed = check_int(lua, 1);
        (*run).seed(seed);
        0
    }
}
