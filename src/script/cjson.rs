//! The library `cjson`, after lua-cjson 2.1.0: its table, and Lua values to JSON. The way back is json_decode.rs.
//!
//! A table whose keys are all positive integers is an array, holes are null; any other one, the empty one included, is an object in
//! Lua's order. Text is taken as it is, but for control characters, quote, backslash and slash.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::json_config::{JsonConfig, config_of, push_config};
use crate::script::vm::{Unended, current, may_go_on, push_bytes, raise_at_caller, raise_unended, string_at};
use crate::script::{json_config, json_decode, shims};

/// The functions, by name; those of the settings are beside.
const FUNCTIONS: &[(&str, lua_CFunction)] =
    &[("encode", encode), ("decode", json_decode::decode), ("new", new)];

/// Nesting beyond this is refused whatever is set: so much of the thread's stack there is.
pub(super) const DEPTH_MAX: c_int = 1500;

/// Pushes the library's table.
pub(super) unsafe fn push_table(lua: *mut lua_State) {
    unsafe { push_table_with(lua, false) }
}

/// Pushes the table, of which the functions have settings of their own or not.
unsafe fn push_table_with(lua: *mut lua_State, has_own_config: bool) {
    unsafe {
        ffi::lua_createtable(lua, 0, 16);
        let table = ffi::lua_gettop(lua);
        if has_own_config {
            push_config(lua);
        }
        for (name, function) in FUNCTIONS.iter().chain(json_config::FUNCTIONS) {
            push_bytes(lua, name.as_bytes());
            if has_own_config {
                ffi::lua_pushvalue(lua, table + 1);
            }
            ffi::lua_pushcclosure(lua, *function, c_int::from(has_own_config));
            ffi::lua_rawset(lua, table);
        }
        ffi::lua_settop(lua, table);
        ffi::lua_pushlightuserdata(lua, ptr::null_mut());
        ffi::lua_setfield(lua, table, c"null".as_ptr());
        for (name, text) in [(c"_NAME", c"cjson"), (c"_VERSION", c"2.1.0")] {
            ffi::lua_pushstring_(lua, text.as_ptr());
            ffi::lua_setfield(lua, table, name.as_ptr());
        }
    }
}

/// `cjson.new`: the same table with settings of its own.
unsafe extern "C-unwind" fn new(lua: *mut lua_State) -> c_int {
    unsafe { push_table_with(lua, true) };
    1
}

/// Why a value has no JSON.
enum Refused {
    /// Nested so deep.
    Nesting(c_int),
    /// A value of this type of Lua, for this reason.
    Value(c_int, &'static CStr),
    /// It took too long, or became too much.
    Unended(Unended),
}

impl From<Unended> for Refused {
    fn from(why: Unended) -> Refused {
        Refused::Unended(why)
    }
}

unsafe extern "C-unwind" fn encode(lua: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            ffi::luaL_argerror(lua, 1, c"expected 1 argument".as_ptr());
        }
        let config = *config_of(lua);
        let run = current();
        if run.is_null() {
            raise_at_caller(lua, b"cjson can only be used inside a script invocation");
        }
        let mut out = std::mem::take(&mut (*run).scratch);
        out.clear();
        let encoded = encode_top(lua, &mut out, &config, 0);
        (*run).scratch = out;
        match encoded {
            Ok(()) => {}
            Err(Refused::Unended(why)) => {
                (*run).clear_scratch();
                raise_unended(lua, why);
            }
            Err(Refused::Nesting(depth)) => {
                ffi::luaL_error(lua, c"Cannot serialise, excessive nesting (%d)".as_ptr(), depth);
            }
            Err(Refused::Value(kind, reason)) => {
                let name = ffi::lua_typename(lua, kind);
                ffi::luaL_error(lua, c"Cannot serialise %s: %s".as_ptr(), name, reason.as_ptr());
            }
        }
        let text = std::slice::from_raw_parts((*run).scratch.as_ptr(), (*run).scratch.len());
        push_bytes(lua, text);
        (*run).clear_scratch();
        1
    }
}

/// Writes the value on top, which stays.
unsafe fn encode_top(
    lua: *mut lua_State,
    out: &mut Vec<u8>,
    config: &JsonConfig,
    depth: c_int,
) -> Result<(), Refused> {
    unsafe {
        match ffi::lua_type(lua, -1) {
            ffi::LUA_TSTRING => encode_text(out, string_at(lua, -1).unwrap_or_default()),
            ffi::LUA_TNUMBER => encode_number(out, ffi::lua_tonumber(lua, -1), config)?,
            ffi::LUA_TBOOLEAN => {
                out.extend_from_slice(if ffi::lua_toboolean(lua, -1) != 0 { b"true" } else { b"false" });
            }
            ffi::LUA_TNIL => out.extend_from_slice(b"null"),
            ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(lua, -1).is_null() => {
                out.extend_from_slice(b"null");
            }
            ffi::LUA_TTABLE => {
                let depth = depth + 1;
                let is_too_deep = depth > config.encode_depth_max.min(DEPTH_MAX);
                if is_too_deep || ffi::lua_checkstack(lua, 4) == 0 {
                    return Err(Refused::Nesting(depth));
                }
                may_go_on(out.len())?;
                shims::reveal_top(lua);
                match array_length(lua, config)? {
                    Some(len) => encode_array(lua, out, config, depth, len)?,
                    None => encode_object(lua, out, config, depth)?,
                }
            }
            kind => return Err(Refused::Value(kind, c"type not supported")),
        }
        Ok(())
    }
}

/// The length of the array on top; nothing if it is an object.
unsafe fn array_length(lua: *mut lua_State, config: &JsonConfig) -> Result<Option<c_int>, Refused> {
    unsafe {
        let (mut max, mut items): (c_int, i64) = (0, 0);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            let key = ffi::lua_tonumber(lua, -2);
            let is_index = ffi::lua_type(lua, -2) == ffi::LUA_TNUMBER
                && key >= 1.0
                && key <= f64::from(c_int::MAX)
                && key.floor() == key;
            if !is_index {
                ffi::lua_settop(lua, -3);
                return Ok(None);
            }
            max = max.max(key as c_int);
            items += 1;
            ffi::lua_settop(lua, -2);
        }
        let is_very_sparse = config.sparse_ratio > 0
            && i64::from(max) > items * i64::from(config.sparse_ratio)
            && max > config.sparse_safe;
        match is_very_sparse {
            true if config.sparse_converts == 0 => {
                Err(Refused::Value(ffi::LUA_TTABLE, c"excessively sparse array"))
            }
            true => Ok(None),
            false => Ok((max > 0).then_some(max)),
        }
    }
}

unsafe fn encode_array(
    lua: *mut lua_State,
    out: &mut Vec<u8>,
    config: &JsonConfig,
    depth: c_int,
    len: c_int,
) -> Result<(), Refused> {
    out.push(b'[');
    for i in 1..=len {
        if i > 1 {
            out.push(b',');
        }
        unsafe {
            ffi::lua_rawgeti_(lua, -1, i);
            encode_top(lua, out, config, depth)?;
            ffi::lua_settop(lua, -2);
        }
    }
    out.push(b']');
    Ok(())
}

unsafe fn encode_object(
    lua: *mut lua_State,
    out: &mut Vec<u8>,
    config: &JsonConfig,
    depth: c_int,
) -> Result<(), Refused> {
    unsafe {
        out.push(b'{');
        let mut is_first = true;
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            match ffi::lua_type(lua, -2) {
                ffi::LUA_TSTRING => encode_text(out, string_at(lua, -2).unwrap_or_default()),
                ffi::LUA_TNUMBER => {
                    out.push(b'"');
                    encode_number(out, ffi::lua_tonumber(lua, -2), config)?;
                    out.push(b'"');
                }
                kind => return Err(Refused::Value(kind, c"table key must be a number or string")),
            }
            out.push(b':');
            encode_top(lua, out, config, depth)?;
            ffi::lua_settop(lua, -2);
        }
        out.push(b'}');
        Ok(())
    }
}

fn encode_text(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        let short = match byte {
            b'"' | b'\\' | b'/' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0C => b'f',
            b'\r' => b'r',
            0..0x20 | 0x7F => {
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

fn encode_number(out: &mut Vec<u8>, number: f64, config: &JsonConfig) -> Result<(), Refused> {
    if !number.is_finite() {
        match config.encode_invalid {
            0 => return Err(Refused::Value(ffi::LUA_TNUMBER, c"must not be NaN or Inf")),
            1 if number.is_nan() => out.extend_from_slice(b"nan"),
            1 => out.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" }),
            _ => out.extend_from_slice(b"null"),
        }
        return Ok(());
    }
    let mut text = [0_u8; 32];
    // SAFETY: 14 digits, sign, point and exponent are shorter than the buffer.
    let len = unsafe {
        let format: *const c_char = c"%.*g".as_ptr();
        libc::snprintf(text.as_mut_ptr().cast(), text.len(), format, config.precision, number)
    };
    out.extend_from_slice(&text[..usize::try_from(len).unwrap_or(0).min(text.len())]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{encode_number, encode_text};
    use crate::script::json_config::JsonConfig;

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        encode_text(&mut out, b"a/b\"\\\x7f\x01\t\n\x0c\xc8");
        assert_eq!(out, b"\"a\\/b\\\"\\\\\\u007f\\u0001\\t\\n\\f\xc8\"");
    }

    #[test]
    fn numbers_have_fourteen_digits() {
        let text = |number: f64| {
            let mut out = Vec::new();
            let is_written = encode_number(&mut out, number, &JsonConfig::default()).is_ok();
            (is_written, String::from_utf8(out).unwrap())
        };
        assert_eq!(text(0.1), (true, "0.1".to_string()));
        assert_eq!(text(12_345_678_901_234_567_890.0), (true, "1.2345678901235e+19".to_string()));
        assert_eq!(text(-1.797_693_134_862_315_7e308), (true, "-1.7976931348623e+308".to_string()));
        assert_eq!(text(f64::NAN), (false, String::new()));
    }
}
