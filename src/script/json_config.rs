//! How cjson is set: what `cjson.encode_max_depth` and its sisters change.
//!
//! The settings of the global `cjson` last for one run; those of a table made by `cjson.new()` as long as that table, in a
//! userdata that is the first upvalue of its functions.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::{current, raise_at_caller};

/// The functions, by name.
pub(super) const FUNCTIONS: &[(&str, lua_CFunction)] = &[
    ("encode_sparse_array", sparse_array),
    ("encode_max_depth", encode_depth),
    ("decode_max_depth", decode_depth),
    ("encode_number_precision", precision),
    ("encode_keep_buffer", keep_buffer),
    ("encode_invalid_numbers", encode_invalid_numbers),
    ("decode_invalid_numbers", decode_invalid_numbers),
];

/// The settings. Only plain values: it lies in Lua's memory, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonConfig {
    /// Very sparse arrays become objects instead of being refused (0, 1).
    pub sparse_converts: c_int,
    /// An array is very sparse if its greatest index is more than so many times its elements; 0: never.
    pub sparse_ratio: c_int,
    /// Up to this index no array is very sparse.
    pub sparse_safe: c_int,
    pub encode_depth_max: c_int,
    pub decode_depth_max: c_int,
    /// Significant digits of a number.
    pub precision: c_int,
    /// Kept to be answered (0, 1).
    keep_buffer: c_int,
    /// NaN and infinities: refused (0), written (1), null (2).
    pub encode_invalid: c_int,
    /// NaN, infinities, hexadecimal numbers and leading zeros are read (0, 1).
    pub decode_invalid: c_int,
}

impl Default for JsonConfig {
    fn default() -> JsonConfig {
        JsonConfig {
            sparse_converts: 0,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            precision: 14,
            keep_buffer: 1,
            encode_invalid: 0,
            decode_invalid: 1,
        }
    }
}

/// The settings of the function that is being called.
pub(super) unsafe fn config_of(lua: *mut lua_State) -> *mut JsonConfig {
    unsafe {
        let own = ffi::lua_touserdata(lua, ffi::lua_upvalueindex(1)).cast::<JsonConfig>();
        if !own.is_null() {
            return own;
        }
        let run = current();
        if run.is_null() {
            raise_at_caller(lua, b"cjson can only be used inside a script invocation");
        }
        &raw mut (*run).json
    }
}

/// Pushes a userdata with settings as they are to begin with.
pub(super) unsafe fn push_config(lua: *mut lua_State) {
    unsafe {
        let config = ffi::lua_newuserdata(lua, size_of::<JsonConfig>()).cast::<JsonConfig>();
        config.write(JsonConfig::default());
    }
}

/// At most `count` arguments; missing ones become nil.
unsafe fn take_arguments(lua: *mut lua_State, count: c_int) -> *mut JsonConfig {
    unsafe {
        if ffi::lua_gettop(lua) > count {
            ffi::luaL_argerror(lua, count + 1, c"found too many arguments".as_ptr());
        }
        ffi::lua_settop(lua, count);
        config_of(lua)
    }
}

/// Sets an integer from argument `i` unless it is nil, and pushes what is set.
unsafe fn integer_option(lua: *mut lua_State, i: c_int, setting: *mut c_int, min: c_int, max: c_int) {
    unsafe {
        if ffi::lua_type(lua, i) != ffi::LUA_TNIL {
            let value = ffi::luaL_checkinteger(lua, i) as c_int;
            if value < min || value > max {
                let format = c"expected integer between %d and %d".as_ptr();
                let text = ffi::lua_pushfstring(lua, format, min, max);
                ffi::luaL_argerror(lua, 1, text);
            }
            *setting = value;
        }
        ffi::lua_pushinteger(lua, *setting as ffi::lua_Integer);
    }
}

/// Sets one of `names` (0, 1, 2) from argument `i`, which may be a boolean, too, and pushes what is set.
unsafe fn named_option(lua: *mut lua_State, i: c_int, setting: *mut c_int, names: &[&CStr]) {
    unsafe {
        match ffi::lua_type(lua, i) {
            ffi::LUA_TNIL => {}
            ffi::LUA_TBOOLEAN => *setting = ffi::lua_toboolean(lua, i),
            _ => {
                let mut pointers: [*const c_char; 4] = [ptr::null(); 4];
                pointers.iter_mut().zip(names).for_each(|(to, name)| *to = name.as_ptr());
                *setting = ffi::luaL_checkoption(lua, i, ptr::null(), pointers.as_ptr());
            }
        }
        match names.get(*setting as usize) {
            Some(name) if *setting > 1 => ffi::lua_pushstring_(lua, name.as_ptr()),
            _ => ffi::lua_pushboolean(lua, *setting),
        }
    }
}

const OFF_ON: &[&CStr] = &[c"off", c"on"];
const OFF_ON_NULL: &[&CStr] = &[c"off", c"on", c"null"];

unsafe extern "C-unwind" fn sparse_array(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 3);
        named_option(lua, 1, &raw mut (*config).sparse_converts, OFF_ON);
        integer_option(lua, 2, &raw mut (*config).sparse_ratio, 0, c_int::MAX);
        integer_option(lua, 3, &raw mut (*config).sparse_safe, 0, c_int::MAX);
        3
    }
}

unsafe extern "C-unwind" fn encode_depth(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        integer_option(lua, 1, &raw mut (*config).encode_depth_max, 1, c_int::MAX);
        1
    }
}

unsafe extern "C-unwind" fn decode_depth(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        integer_option(lua, 1, &raw mut (*config).decode_depth_max, 1, c_int::MAX);
        1
    }
}

unsafe extern "C-unwind" fn precision(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        integer_option(lua, 1, &raw mut (*config).precision, 1, 14);
        1
    }
}

unsafe extern "C-unwind" fn keep_buffer(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        named_option(lua, 1, &raw mut (*config).keep_buffer, OFF_ON);
        1
    }
}

unsafe extern "C-unwind" fn encode_invalid_numbers(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        named_option(lua, 1, &raw mut (*config).encode_invalid, OFF_ON_NULL);
        1
    }
}

unsafe extern "C-unwind" fn decode_invalid_numbers(lua: *mut lua_State) -> c_int {
    unsafe {
        let config = take_arguments(lua, 1);
        named_option(lua, 1, &raw mut (*config).decode_invalid, OFF_ON);
        1
    }
}
