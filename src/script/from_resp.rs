//! A command's reply becomes a Lua value.
//!
//! | reply | value |
//! |---|---|
//! | bulk, integer, array | string, number, table from 1 on |
//! | status, error | `{ok = text}`, `{err = text}` |
//! | `$-1`, `*-1` | `false` |
//! | `_`, `#t`, `#f` | `nil`, `true`, `false` |
//! | double, big number | `{double = number}`, `{big_number = text}` |
//! | map, set | `{map = {key = value}}`, `{set = {member = true}}` |
//! | verbatim | `{verbatim_string = {format = text, string = text}}` |
//!
//! Attributes are skipped. One pass over the bytes, pushing as it goes; a reply that is cut short or nested beyond
//! `DEPTH_MAX` is refused.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use crate::base::number::{parse_f64, parse_i64};
use crate::script::vm::{push_bytes, push_error};

/// Deeper than any command answers.
const DEPTH_MAX: usize = 64;
/// Up to this length an array's table is made in its final size.
const PRESIZED_MAX: usize = 4096;

/// Pushes the one value that `reply` stands for. False if the bytes are no whole reply; the stack is then any.
///
/// `has_no_nil`: replies are of RESP2, in which no element is nil, so that tables may be made in their final size (which is the
/// size they would have grown to).
pub(super) unsafe fn push_reply(lua: *mut lua_State, reply: &[u8], has_no_nil: bool) -> bool {
    let mut reader = Reader { lua, rest: reply, has_no_nil };
    unsafe { reader.push(DEPTH_MAX).is_some() }
}

struct Reader<'a> {
    lua: *mut lua_State,
    rest: &'a [u8],
    has_no_nil: bool,
}

impl<'a> Reader<'a> {
    /// The bytes up to the next line end.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&b| b == b'\r')?;
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..)?;
        Some(line)
    }

    /// The next `len` bytes and their line end.
    fn body(&mut self, len: usize) -> Option<&'a [u8]> {
        let body = self.rest.get(..len)?;
        self.rest = self.rest.get(len.checked_add(2)?..)?;
        Some(body)
    }

    /// Pushes the next value.
    unsafe fn push(&mut self, depth: usize) -> Option<()> {
        let lua = self.lua;
        let depth = depth.checked_sub(1)?;
        let kind = *self.rest.first()?;
        self.rest = &self.rest[1..];
        let line = self.line()?;
        unsafe {
            ffi::luaL_checkstack(lua, 8, c"a reply is nested too deep".as_ptr());
            match kind {
                b'$' | b'=' | b'*' if line == b"-1" => ffi::lua_pushboolean(lua, 0),
                b'$' => push_bytes(lua, self.body(length(line)?)?),
                b':' => ffi::lua_pushnumber(lua, parse_i64(line)? as f64),
                b'+' => push_field(lua, b"ok", line),
                b'-' => push_raised(lua, line),
                b'*' => self.push_array(length(line)?, depth)?,
                b'%' => self.push_map(length(line)?, depth)?,
                b'~' => self.push_set(length(line)?, depth)?,
                b'_' => ffi::lua_pushnil(lua),
                b'#' => ffi::lua_pushboolean(lua, c_int::from(line == b"t")),
                b',' => {
                    ffi::lua_createtable(lua, 0, 0);
                    push_bytes(lua, b"double");
                    ffi::lua_pushnumber(lua, double(line)?);
                    ffi::lua_rawset(lua, -3);
                }
                b'(' => push_field(lua, b"big_number", line),
                b'=' => push_verbatim(lua, self.body(length(line)?)?)?,
                b'|' => {
                    // What is said beside the reply is pushed and forgotten.
                    for _ in 0..length(line)?.checked_mul(2)? {
                        self.push(depth)?;
                        ffi::lua_settop(lua, -2);
                    }
                    self.push(depth)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    unsafe fn push_array(&mut self, count: usize, depth: usize) -> Option<()> {
        let presized = if self.has_no_nil && count <= PRESIZED_MAX { count.next_power_of_two() } else { 0 };
        unsafe {
            ffi::lua_createtable(self.lua, if count == 0 { 0 } else { presized as c_int }, 0);
            for i in 1..=count {
                self.push(depth)?;
                ffi::lua_rawseti_(self.lua, -2, c_int::try_from(i).ok()?);
            }
        }
        Some(())
    }

    unsafe fn push_map(&mut self, pairs: usize, depth: usize) -> Option<()> {
        unsafe {
            ffi::lua_createtable(self.lua, 0, 0);
            push_bytes(self.lua, b"map");
            ffi::lua_createtable(self.lua, 0, 0);
            for _ in 0..pairs {
                self.push(depth)?;
                self.push(depth)?;
                ffi::lua_settable(self.lua, -3);
            }
            ffi::lua_rawset(self.lua, -3);
        }
        Some(())
    }

    unsafe fn push_set(&mut self, count: usize, depth: usize) -> Option<()> {
        unsafe {
            ffi::lua_createtable(self.lua, 0, 0);
            push_bytes(self.lua, b"set");
            ffi::lua_createtable(self.lua, 0, 0);
            for _ in 0..count {
                self.push(depth)?;
                ffi::lua_pushboolean(self.lua, 1);
                ffi::lua_settable(self.lua, -3);
            }
            ffi::lua_rawset(self.lua, -3);
        }
        Some(())
    }
}

fn length(line: &[u8]) -> Option<usize> {
    parse_i64(line).and_then(|len| usize::try_from(len).ok())
}

fn double(line: &[u8]) -> Option<f64> {
    match line {
        b"nan" => Some(f64::NAN),
        b"-nan" => Some(-f64::NAN),
        _ => parse_f64(line),
    }
}

/// Pushes `{name = text}`.
unsafe fn push_field(lua: *mut lua_State, name: &[u8], text: &[u8]) {
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        push_bytes(lua, name);
        push_bytes(lua, text);
        ffi::lua_rawset(lua, -3);
    }
}

/// Pushes the table of an error that a command answered. The mark says that the command has counted it.
unsafe fn push_raised(lua: *mut lua_State, line: &[u8]) {
    unsafe {
        push_bytes(lua, b"-");
        push_bytes(lua, line);
        ffi::lua_concat(lua, 2);
        let text = crate::script::vm::string_at(lua, -1).unwrap_or_default();
        push_error(lua, text);
        ffi::lua_remove(lua, -2);
        push_bytes(lua, b"ignore_error_stats_update");
        ffi::lua_pushboolean(lua, 1);
        ffi::lua_rawset(lua, -3);
    }
}

unsafe fn push_verbatim(lua: *mut lua_State, body: &[u8]) -> Option<()> {
    let (format, text) = (body.get(..3)?, body.get(4..)?);
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        push_bytes(lua, b"verbatim_string");
        ffi::lua_createtable(lua, 0, 0);
        push_bytes(lua, b"string");
        push_bytes(lua, text);
        ffi::lua_rawset(lua, -3);
        push_bytes(lua, b"format");
        push_bytes(lua, format);
        ffi::lua_rawset(lua, -3);
        ffi::lua_rawset(lua, -3);
    }
    Some(())
}
