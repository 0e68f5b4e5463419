//! The library `cmsgpack`: Lua values to MessagePack and back, after lua-cmsgpack 0.4.0.
//!
//! A table whose keys are 1 to n is an array, any other one a map. Numbers that are integers of 64 bits are written as such, in the
//! shortest form, others as a float if that loses nothing, else as a double. Tables nested deeper than [`PACK_DEPTH_MAX`] are nil.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::shims::reveal_top;
use crate::script::vm::{
    Unended, bytes_at, current, may_go_on, push_bytes, raise_at_caller, raise_unended, string_at,
};

/// The functions, by name.
pub(super) const FUNCTIONS: &[(&str, lua_CFunction)] =
    &[("pack", pack), ("unpack", unpack), ("unpack_one", unpack_one), ("unpack_limit", unpack_limit)];

/// Texts beside them.
pub(super) const TEXTS: &[(&str, &str)] = &[
    ("_NAME", "cmsgpack"),
    ("_VERSION", "lua-cmsgpack 0.4.0"),
    ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
    ("_DESCRIPTION", "MessagePack C implementation for Lua"),
];

/// Tables within tables that are packed.
const PACK_DEPTH_MAX: usize = 16;
/// Tables within tables that are unpacked; so much of the thread's stack there is.
const UNPACK_DEPTH_MAX: usize = 2000;

unsafe extern "C-unwind" fn pack(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current();
        let count = ffi::lua_gettop(lua);
        if count == 0 {
            ffi::luaL_argerror(lua, 0, c"MessagePack pack needs input.".as_ptr());
        }
        if run.is_null() {
            raise_at_caller(lua, b"cmsgpack can only be used inside a script invocation");
        }
        // Room for the way down: key, value and copy on each floor.
        let slots = (PACK_DEPTH_MAX as c_int + 1) * 4;
        ffi::luaL_checkstack(lua, slots, c"Too many arguments for MessagePack pack.".as_ptr());
        let mut out = std::mem::take(&mut (*run).scratch);
        out.clear();
        let packed = (1..=count).try_for_each(|i| {
            ffi::lua_pushvalue(lua, i);
            pack_top(lua, &mut out, 0)
        });
        (*run).scratch = out;
        if let Err(why) = packed {
            (*run).clear_scratch();
            raise_unended(lua, why);
        }
        let packed = std::slice::from_raw_parts((*run).scratch.as_ptr(), (*run).scratch.len());
        push_bytes(lua, packed);
        (*run).clear_scratch();
        1
    }
}

/// Packs the value on top and takes it away. Nothing called here raises: the stack has room, and no metamethod is asked.
unsafe fn pack_top(lua: *mut lua_State, out: &mut Vec<u8>, depth: usize) -> Result<(), Unended> {
    unsafe {
        match ffi::lua_type(lua, -1) {
            ffi::LUA_TSTRING => pack_bytes(out, string_at(lua, -1).unwrap_or_default()),
            ffi::LUA_TBOOLEAN => out.push(if ffi::lua_toboolean(lua, -1) != 0 { 0xC3 } else { 0xC2 }),
            ffi::LUA_TNUMBER => pack_number(out, ffi::lua_tonumber(lua, -1)),
            ffi::LUA_TTABLE if depth < PACK_DEPTH_MAX => pack_table(lua, out, depth)?,
            _ => out.push(0xC0),
        }
        ffi::lua_settop(lua, -2);
    }
    Ok(())
}

fn pack_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..32 => out.push(0xA0 | len as u8),
        len @ 32..=0xFF => out.extend_from_slice(&[0xD9, len as u8]),
        len => pack_header(out, len, [0xDA, 0xDB]),
    }
    out.extend_from_slice(bytes);
}

/// A length of 16 or 32 bits, each behind its mark.
fn pack_header(out: &mut Vec<u8>, len: usize, marks: [u8; 2]) {
    if let Ok(len) = u16::try_from(len) {
        out.push(marks[0]);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(marks[1]);
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn pack_number(out: &mut Vec<u8>, number: f64) {
    let integer = number as i64;
    // 2^63 is no integer of 64 bits, although the cast above makes it one.
    if integer as f64 == number && number < i64::MAX as f64 {
        pack_integer(out, integer);
    } else if f64::from(number as f32) == number {
        out.push(0xCA);
        out.extend_from_slice(&(number as f32).to_be_bytes());
    } else {
        out.push(0xCB);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn pack_integer(out: &mut Vec<u8>, n: i64) {
    let bytes = n.to_be_bytes();
    let (mark, len) = match n {
        -32..=127 => return out.push(n as u8),
        128..=0xFF => (0xCC, 1),
        0x100..=0xFFFF => (0xCD, 2),
        0x1_0000..=0xFFFF_FFFF => (0xCE, 4),
        0x1_0000_0000.. => (0xCF, 8),
        -128..=-33 => (0xD0, 1),
        -32_768..=-129 => (0xD1, 2),
        -2_147_483_648..=-32_769 => (0xD2, 4),
        _ => (0xD3, 8),
    };
    out.push(mark);
    out.extend_from_slice(&bytes[8 - len..]);
}

unsafe fn pack_table(lua: *mut lua_State, out: &mut Vec<u8>, depth: usize) -> Result<(), Unended> {
    unsafe {
        may_go_on(out.len())?;
        reveal_top(lua);
        let (pairs, is_array) = count_pairs(lua);
        if is_array {
            if pairs < 16 {
                out.push(0x90 | pairs as u8)
            } else {
                pack_header(out, pairs, [0xDC, 0xDD])
            }
            for i in 1..=pairs {
                ffi::lua_rawgeti_(lua, -1, i as c_int);
                pack_top(lua, out, depth + 1)?;
            }
            return Ok(());
        }
        if pairs < 16 {
            out.push(0x80 | pairs as u8)
        } else {
            pack_header(out, pairs, [0xDE, 0xDF])
        }
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            ffi::lua_pushvalue(lua, -2);
            pack_top(lua, out, depth + 1)?;
            pack_top(lua, out, depth + 1)?;
        }
    }
    Ok(())
}

/// How many pairs the table on top has, and whether its keys are 1 to that number.
unsafe fn count_pairs(lua: *mut lua_State) -> (usize, bool) {
    unsafe {
        let (mut count, mut max, mut is_array) = (0, 0, true);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            ffi::lua_settop(lua, -2);
            count += 1;
            let key = ffi::lua_tonumber(lua, -1);
            let is_index = ffi::lua_type(lua, -1) == ffi::LUA_TNUMBER
                && key > 0.0
                && key <= f64::from(c_int::MAX)
                && key.trunc() == key;
            is_array &= is_index;
            if is_index {
                max = max.max(key as usize);
            }
        }
        (count, is_array && max == count)
    }
}

/// Why a value was not unpacked.
enum Broken {
    Short,
    Format,
    Depth,
}

/// Bytes being unpacked.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of `len` bytes.
    fn number(&mut self, len: usize) -> Result<u64, Broken> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Pushes the next value.
    unsafe fn push(&mut self, lua: *mut lua_State, depth: usize) -> Result<(), Broken> {
        unsafe {
            const TOO_MANY: &CStr =
                c"too many return values at once; use unpack_one or unpack_limit instead.";
            ffi::luaL_checkstack(lua, 3, TOO_MANY.as_ptr());
            let start = self.rest;
            let mark = self.number(1)? as u8;
            match mark {
                0x00..=0x7F => ffi::lua_pushnumber(lua, f64::from(mark)),
                0xE0..=0xFF => ffi::lua_pushnumber(lua, f64::from(mark as i8)),
                0xA0..=0xBF => push_bytes(lua, self.take(usize::from(mark & 0x1F))?),
                0x90..=0x9F => self.push_array(lua, usize::from(mark & 0x0F), depth)?,
                0x80..=0x8F => self.push_map(lua, usize::from(mark & 0x0F), depth)?,
                0xCC..=0xCF => {
                    let number = self.number(1 << (mark - 0xCC))?;
                    // Those of 64 bits come out signed, as in Redis.
                    ffi::lua_pushnumber(lua, number as i64 as f64);
                }
                0xD0 => ffi::lua_pushnumber(lua, f64::from(self.number(1)? as i8)),
                0xD1 => ffi::lua_pushnumber(lua, f64::from(self.number(2)? as i16)),
                0xD2 => ffi::lua_pushnumber(lua, f64::from(self.number(4)? as i32)),
                0xD3 => ffi::lua_pushnumber(lua, self.number(8)? as i64 as f64),
                0xC0 => ffi::lua_pushnil(lua),
                0xC2 | 0xC3 => ffi::lua_pushboolean(lua, c_int::from(mark == 0xC3)),
                0xCA => ffi::lua_pushnumber(lua, f64::from(f32::from_bits(self.number(4)? as u32))),
                0xCB => ffi::lua_pushnumber(lua, f64::from_bits(self.number(8)?)),
                0xD9..=0xDB => {
                    let len = self.number(1 << (mark - 0xD9))? as usize;
                    push_bytes(lua, self.take(len)?);
                }
                0xDC | 0xDD => {
                    let len = self.number(2 << (mark - 0xDC))? as usize;
                    self.push_array(lua, len, depth)?;
                }
                0xDE | 0xDF => {
                    let len = self.number(2 << (mark - 0xDE))? as usize;
                    self.push_map(lua, len, depth)?;
                }
                _ => {
                    self.rest = start;
                    return Err(Broken::Format);
                }
            }
            Ok(())
        }
    }

    unsafe fn push_array(&mut self, lua: *mut lua_State, len: usize, depth: usize) -> Result<(), Broken> {
        let depth = depth.checked_sub(1).ok_or(Broken::Depth)?;
        unsafe {
            ffi::lua_createtable(lua, 0, 0);
            for i in 1..=len {
                self.push(lua, depth)?;
                ffi::lua_rawseti_(lua, -2, i as c_int);
            }
        }
        Ok(())
    }

    unsafe fn push_map(&mut self, lua: *mut lua_State, len: usize, depth: usize) -> Result<(), Broken> {
        let depth = depth.checked_sub(1).ok_or(Broken::Depth)?;
        unsafe {
            ffi::lua_createtable(lua, 0, 0);
            for _ in 0..len {
                self.push(lua, depth)?;
                self.push(lua, depth)?;
                // A nil for a key is an error of Lua.
                ffi::lua_settable(lua, -3);
            }
        }
        Ok(())
    }
}

unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    unsafe { unpack_some(lua, 0, 0) }
}

unsafe extern "C-unwind" fn unpack_one(lua: *mut lua_State) -> c_int {
    unsafe {
        let offset = ffi::luaL_optinteger(lua, 2, 0) as c_int;
        ffi::lua_settop(lua, 1);
        unpack_some(lua, 1, offset)
    }
}

unsafe extern "C-unwind" fn unpack_limit(lua: *mut lua_State) -> c_int {
    unsafe {
        let limit = ffi::luaL_checkinteger(lua, 2) as c_int;
        let offset = ffi::luaL_optinteger(lua, 3, 0) as c_int;
        ffi::lua_settop(lua, 1);
        unpack_some(lua, limit, offset)
    }
}

/// Unpacks `limit` values from `offset` on, after the offset of those that follow (-1 if none do). With neither, all values,
/// without an offset.
unsafe fn unpack_some(lua: *mut lua_State, limit: c_int, offset: c_int) -> c_int {
    unsafe {
        let mut len = 0;
        let start = ffi::luaL_checklstring(lua, 1, &raw mut len);
        if limit < 0 || offset < 0 {
            let format = c"Invalid request to unpack with offset of %d and limit of %d.".as_ptr();
            ffi::luaL_error(lua, format, offset, len as c_int);
        }
        let offset = offset as usize;
        if offset > len {
            let format = c"Start offset %d greater than input length %d.".as_ptr();
            ffi::luaL_error(lua, format, offset as c_int, len as c_int);
        }
        let is_all = limit == 0 && offset == 0;
        let limit = if is_all { c_int::MAX } else { limit };
        let mut cursor = Cursor { rest: &bytes_at(start, len)[offset..] };
        let mut count = 0;
        while !cursor.rest.is_empty() && count < limit {
            match cursor.push(lua, UNPACK_DEPTH_MAX) {
                Ok(()) => count += 1,
                Err(Broken::Short) => raise_at_caller(lua, b"Missing bytes in input."),
                Err(Broken::Format) => raise_at_caller(lua, b"Bad data format in input."),
                Err(Broken::Depth) => {
                    raise_at_caller(lua, b"stack overflow (in function mp_decode_to_lua_array)")
                }
            }
        }
        if is_all {
            return count;
        }
        ffi::luaL_checkstack(lua, 1, c"in function mp_unpack_full".as_ptr());
        let next = if cursor.rest.is_empty() { -1 } else { (len - cursor.rest.len()) as ffi::lua_Integer };
        ffi::lua_pushinteger(lua, next);
        ffi::lua_insert(lua, 2);
        count + 1
    }
}

#[cfg(test)]
mod tests {
    use super::{pack_bytes, pack_number};

    #[test]
    fn numbers_take_their_shortest_form() {
        let packed = |number: f64| {
            let mut out = Vec::new();
            pack_number(&mut out, number);
            out
        };
        assert_eq!(packed(127.0), [0x7F]);
        assert_eq!(packed(-32.0), [0xE0]);
        assert_eq!(packed(128.0), [0xCC, 0x80]);
        assert_eq!(packed(-33.0), [0xD0, 0xDF]);
        assert_eq!(packed(65_536.0), [0xCE, 0, 1, 0, 0]);
        assert_eq!(packed(0.5), [0xCA, 0x3F, 0, 0, 0]);
        assert_eq!(packed(0.1).len(), 9);
        assert_eq!(packed(f64::INFINITY)[0], 0xCA);
        assert_eq!(packed(9_223_372_036_854_775_808.0)[0], 0xCA);
        assert_eq!(packed(-9_223_372_036_854_775_808.0)[0], 0xD3);
    }

    #[test]
    fn texts_have_the_header_of_their_length() {
        let header = |len: usize| {
            let mut out = Vec::new();
            pack_bytes(&mut out, &vec![b'x'; len]);
            out.truncate(out.len() - len);
            out
        };
        assert_eq!(header(31), [0xBF]);
        assert_eq!(header(32), [0xD9, 32]);
        assert_eq!(header(256), [0xDA, 1, 0]);
        assert_eq!(header(65_536), [0xDB, 0, 1, 0, 0]);
    }
}
