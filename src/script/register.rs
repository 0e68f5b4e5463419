//! `redis.register_function`: how a library says which functions it has.
//!
//! It comes as `(name, callback)` or as one table of named arguments. All is checked on Lua's stack first; then the function gets
//! its number in the registry and is added to the run's list, which raises nothing.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use crate::script::interpreter::Compiled;
use crate::script::library::is_name;
use crate::script::source::Flags;
use crate::script::vm::{Run, bytes_at, current, push_error, until_zero};

/// A function that a library has registered.
pub(super) struct Registered {
    pub name: Box<[u8]>,
    pub description: Option<Box<[u8]>>,
    pub flags: Flags,
    /// Its number in Lua's registry.
    pub function: c_int,
}

impl Registered {
    /// Where it is.
    pub fn compiled(&self) -> Compiled {
        Compiled(self.function)
    }
}

/// Where the named arguments are put on the stack, above the table.
const NAME: c_int = 2;
const DESCRIPTION: c_int = 3;
const CALLBACK: c_int = 4;

pub(super) unsafe extern "C-unwind" fn register_function(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current();
        if run.is_null() || (*run).registered.is_none() {
            refuse(lua, "redis.register_function can only be called on FUNCTION LOAD command");
        }
        let flags = match ffi::lua_gettop(lua) {
            1 => read_named(lua),
            2 => {
                read_positional(lua);
                Flags::default()
            }
            _ => refuse(lua, "wrong number of arguments to redis.register_function"),
        };
        if !is_name(text_at(lua, NAME).unwrap_or_default()) {
            refuse(lua, super::library::BAD_NAME);
        }
        if is_registered(run, text_at(lua, NAME).unwrap_or_default()) {
            refuse(lua, "Function already exists in the library");
        }
        ffi::lua_pushvalue(lua, CALLBACK);
        let function = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        // The texts of numbers have been made, so that nothing raises from here on.
        let name = text_at(lua, NAME).unwrap_or_default().into();
        let description = text_at(lua, DESCRIPTION).map(Into::into);
        if let Some(registered) = &mut (*run).registered {
            registered.push(Registered { name, description, flags, function });
        }
        0
    }
}

unsafe fn is_registered(run: *mut Run, name: &[u8]) -> bool {
    let registered = unsafe { (*run).registered.as_deref() };
    registered.is_some_and(|registered| registered.iter().any(|function| *function.name == *name))
}

/// `(name, callback)`, moved to where the named arguments would be.
unsafe fn read_positional(lua: *mut lua_State) {
    unsafe {
        if text_at(lua, 1).is_none() {
            refuse(lua, "first argument to redis.register_function must be a string");
        }
        if ffi::lua_type(lua, 2) != ffi::LUA_TFUNCTION {
            refuse(lua, "second argument to redis.register_function must be a function");
        }
        ffi::lua_pushnil(lua);
        ffi::lua_insert(lua, 2);
        ffi::lua_pushnil(lua);
        ffi::lua_insert(lua, 1);
    }
}

/// The fields of the table at slot 1, each put at its own slot.
unsafe fn read_named(lua: *mut lua_State) -> Flags {
    unsafe {
        if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE {
            refuse(
                lua,
                "calling redis.register_function with a single argument is only applicable to Lua table (representing named \
                 arguments).",
            );
        }
        ffi::lua_settop(lua, CALLBACK);
        let mut flags = Flags::default();
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, 1) != 0 {
            let key = match ffi::lua_type(lua, -2) {
                ffi::LUA_TSTRING => until_zero(text_at(lua, -2).unwrap_or_default()),
                // A number's text is no argument's name.
                ffi::LUA_TNUMBER => b"",
                _ => refuse(lua, "named argument key given to redis.register_function is not a string"),
            };
            let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
            if is("function_name") {
                if text_at(lua, -1).is_none() {
                    refuse(lua, "function_name argument given to redis.register_function must be a string");
                }
                ffi::lua_replace(lua, NAME);
            } else if is("description") {
                if text_at(lua, -1).is_none() {
                    refuse(lua, "description argument given to redis.register_function must be a string");
                }
                ffi::lua_replace(lua, DESCRIPTION);
            } else if is("callback") {
                if ffi::lua_type(lua, -1) != ffi::LUA_TFUNCTION {
                    refuse(lua, "callback argument given to redis.register_function must be a function");
                }
                ffi::lua_replace(lua, CALLBACK);
            } else if is("flags") {
                if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
                    refuse(
                        lua,
                        "flags argument to redis.register_function must be a table representing function flags",
                    );
                }
                flags = read_flags(lua);
                ffi::lua_settop(lua, -2);
            } else {
                refuse(lua, "unknown argument given to redis.register_function");
            }
        }
        if ffi::lua_type(lua, NAME) == ffi::LUA_TNIL {
            refuse(lua, "redis.register_function must get a function name argument");
        }
        if ffi::lua_type(lua, CALLBACK) == ffi::LUA_TNIL {
            refuse(lua, "redis.register_function must get a callback argument");
        }
        flags
    }
}

/// The flags named by the list on top.
unsafe fn read_flags(lua: *mut lua_State) -> Flags {
    let mut flags = Flags::default();
    let mut number = 1.0;
    unsafe {
        loop {
            ffi::lua_pushnumber(lua, number);
            ffi::lua_gettable(lua, -2);
            if ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
                ffi::lua_settop(lua, -2);
                return flags;
            }
            let name = until_zero(text_at(lua, -1).unwrap_or_default());
            let known = Flags::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
            match known {
                Some((flag, _)) => flags = flags.with(*flag),
                None => refuse(lua, "unknown flag given"),
            }
            ffi::lua_settop(lua, -2);
            number += 1.0;
        }
    }
}

/// The text of a string or a number, which becomes a string where it stands. It stays as long as its slot.
unsafe fn text_at<'a>(lua: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    unsafe {
        if ffi::lua_isstring(lua, index) == 0 {
            return None;
        }
        let mut len = 0;
        let start = ffi::lua_tolstring(lua, index, &raw mut len);
        Some(bytes_at(start, len))
    }
}

unsafe fn refuse(lua: *mut lua_State, text: &str) -> ! {
    unsafe {
        push_error(lua, text.as_bytes());
        ffi::lua_error(lua)
    }
}
