//! The libraries of Redis that are no part of Lua: cjson, cmsgpack, struct, bit.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::push_bytes;
use crate::script::{bits, cjson, cmsgpack, structs};

/// Pushes the table of each library and hands it to `keep` under its name, which takes it away.
pub(super) unsafe fn make(lua: *mut lua_State, keep: unsafe fn(*mut lua_State, &str)) {
    unsafe {
        cjson::push_table(lua);
        keep(lua, "cjson");
        push_functions(lua, bits::FUNCTIONS);
        keep(lua, "bit");
        push_functions(lua, structs::FUNCTIONS);
        keep(lua, "struct");
        push_functions(lua, cmsgpack::FUNCTIONS);
        for (name, text) in cmsgpack::TEXTS {
            push_bytes(lua, name.as_bytes());
            push_bytes(lua, text.as_bytes());
            ffi::lua_rawset(lua, -3);
        }
        keep(lua, "cmsgpack");
    }
}

unsafe fn push_functions(lua: *mut lua_State, functions: &[(&str, lua_CFunction)]) {
    unsafe {
        ffi::lua_createtable(lua, 0, 16);
        for (name, function) in functions {
            push_bytes(lua, name.as_bytes());
            ffi::lua_pushcclosure(lua, *function, 0);
            ffi::lua_rawset(lua, -3);
        }
    }
}
