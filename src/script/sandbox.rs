//! What a script finds when it begins: the globals of Redis, none of which it can change.
//!
//! Built once for each interpreter, from Lua's own libraries: only the names listed here are taken over, some with another
//! function (shims.rs), then ours are added, and every table gets its face. The real table of globals stays known to the
//! engine, which sets `KEYS` and `ARGV` in it.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::{error_handler, push_bytes};
use crate::script::{libraries, redis_api, shims};

/// Globals of Lua that scripts may use.
const GLOBALS: &[&str] = &[
    "_VERSION",
    "assert",
    "collectgarbage",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "next",
    "pairs",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "unpack",
];

/// Libraries of Lua that scripts may use whole.
const LIBRARIES: &[&str] = &["string", "math", "table", "coroutine"];

/// For whom a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// EVAL's scripts.
    Scripts,
    /// Functions of libraries.
    Functions,
}

/// Takes what it needs from Lua's globals, which are the environment now, and leaves two tables on the empty stack: the real
/// globals of the sandbox, and their face.
pub(super) unsafe fn build(lua: *mut lua_State, guest: Guest) {
    unsafe {
        ffi::lua_createtable(lua, 0, 64);
        let real = ffi::lua_gettop(lua);
        for name in GLOBALS {
            push_global(lua, name);
            set(lua, real, name);
        }
        for (name, function) in shims::GLOBALS {
            ffi::lua_pushcclosure(lua, *function, 0);
            set(lua, real, name);
        }
        if guest == Guest::Scripts {
            ffi::lua_pushcclosure(lua, error_handler, 0);
            set(lua, real, "__redis__err__handler");
        }
        for library in LIBRARIES {
            push_global(lua, library);
            set(lua, real, library);
        }
        wrap(lua, real, shims::READERS, shims::read_real);
        wrap(lua, real, shims::WRITERS, shims::refuse_face);
        wrap(lua, real, shims::CATCHERS, shims::catch_errors);
        wrap(lua, real, &[("string", "rep")], shims::repeat_string);
        wrap(lua, real, &[("", "collectgarbage")], shims::collect_garbage);
        wrap(lua, real, &[("", "unpack")], shims::unpack);
        push(lua, real, "next");
        ffi::lua_pushcclosure(lua, shims::pairs, 1);
        set(lua, real, "pairs");
        push(lua, real, "math");
        set_functions(lua, redis_api::MATH);
        ffi::lua_settop(lua, real);
        add_clock(lua, real);
        add_redis(lua, real, guest);
        libraries::make(lua, keep_library);
        protect(lua, real);
    }
}

/// Gives every table in the table at `real` its face, and pushes the face of that table itself.
unsafe fn protect(lua: *mut lua_State, real: c_int) {
    unsafe {
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, real) != 0 {
            if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
                ffi::lua_settop(lua, -2);
                continue;
            }
            shims::protect_top(lua);
            // An existing field may be set while walking.
            ffi::lua_pushvalue(lua, -2);
            ffi::lua_insert(lua, -2);
            ffi::lua_rawset(lua, real);
        }
        // Methods of strings come from the library's face; `getmetatable("")` is a face, too.
        push_bytes(lua, b"");
        if ffi::lua_getmetatable(lua, -1) != 0 {
            push(lua, real, "string");
            ffi::lua_setfield(lua, -2, c"__index".as_ptr());
            shims::protect_top(lua);
            shims::set_string_metatable_face(lua);
        }
        ffi::lua_settop(lua, real);
        refuse_missing(lua);
        ffi::lua_pushvalue(lua, real);
        shims::protect_top(lua);
        ffi::lua_pushvalue(lua, -1);
        set(lua, real, "_G");
    }
}

/// Makes asking the table on top for what it has not an error.
unsafe fn refuse_missing(lua: *mut lua_State) {
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_pushcclosure(lua, shims::refuse_global, 0);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        ffi::lua_setmetatable(lua, -2);
    }
}

/// Pushes the face of what a library finds while it is loaded: a table `redis` and nothing else.
pub(super) unsafe fn build_loading(lua: *mut lua_State) {
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        let real = ffi::lua_gettop(lua);
        ffi::lua_createtable(lua, 0, 16);
        set_functions(lua, redis_api::LIBRARY_FUNCTIONS);
        set_constants(lua, redis_api::LIBRARY_CONSTANTS);
        refuse_missing(lua);
        shims::protect_top(lua);
        set(lua, real, "redis");
        refuse_missing(lua);
        shims::protect_top(lua);
    }
}

/// Puts the table on top into the real table of globals, at slot 1.
unsafe fn keep_library(lua: *mut lua_State, name: &str) {
    unsafe { set(lua, 1, name) }
}

/// Of `os` there is only the clock.
unsafe fn add_clock(lua: *mut lua_State, real: c_int) {
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        push_global(lua, "os");
        ffi::lua_getfield_(lua, -1, c"clock".as_ptr());
        ffi::lua_remove(lua, -2);
        ffi::lua_setfield(lua, -2, c"clock".as_ptr());
        set(lua, real, "os");
    }
}

unsafe fn add_redis(lua: *mut lua_State, real: c_int, guest: Guest) {
    unsafe {
        ffi::lua_createtable(lua, 0, 32);
        set_functions(lua, redis_api::FUNCTIONS);
        if guest == Guest::Scripts {
            set_functions(lua, redis_api::SCRIPT_FUNCTIONS);
        }
        set_constants(lua, redis_api::CONSTANTS);
        set_constants(lua, redis_api::LIBRARY_CONSTANTS);
        set(lua, real, "redis");
    }
}

/// Sets numbers in the table on top, and the version.
unsafe fn set_constants(lua: *mut lua_State, constants: &[(&str, i32)]) {
    unsafe {
        for (name, value) in constants {
            push_bytes(lua, name.as_bytes());
            ffi::lua_pushinteger(lua, *value as ffi::lua_Integer);
            ffi::lua_rawset(lua, -3);
        }
        push_bytes(lua, b"REDIS_VERSION");
        push_bytes(lua, crate::base::REDIS_VERSION.as_bytes());
        ffi::lua_rawset(lua, -3);
    }
}

/// Puts each of these functions behind `shim`, which finds it as its upvalue.
unsafe fn wrap(lua: *mut lua_State, real: c_int, names: &[(&str, &str)], shim: lua_CFunction) {
    unsafe {
        for (library, name) in names {
            if library.is_empty() {
                ffi::lua_pushvalue(lua, real);
            } else {
                push(lua, real, library);
            }
            let table = ffi::lua_gettop(lua);
            push(lua, table, name);
            ffi::lua_pushcclosure(lua, shim, 1);
            set(lua, table, name);
            ffi::lua_settop(lua, real);
        }
    }
}

/// Sets functions in the table on top.
unsafe fn set_functions(lua: *mut lua_State, functions: &[(&str, lua_CFunction)]) {
    unsafe {
        for (name, function) in functions {
            push_bytes(lua, name.as_bytes());
            ffi::lua_pushcclosure(lua, *function, 0);
            ffi::lua_rawset(lua, -3);
        }
    }
}

/// Pushes one of Lua's own globals.
unsafe fn push_global(lua: *mut lua_State, name: &str) {
    unsafe { push(lua, ffi::LUA_GLOBALSINDEX, name) }
}

/// Pushes a field, without metamethods.
unsafe fn push(lua: *mut lua_State, table: c_int, name: &str) {
    unsafe {
        push_bytes(lua, name.as_bytes());
        ffi::lua_rawget_(lua, table);
    }
}

/// Sets a field to the value on top and takes it away.
unsafe fn set(lua: *mut lua_State, table: c_int, name: &str) {
    unsafe {
        push_bytes(lua, name.as_bytes());
        ffi::lua_insert(lua, -2);
        ffi::lua_rawset(lua, table);
    }
}
