//! A script's result becomes a reply.
//!
//! Strings are bulks, numbers integers (cut off), `false` and `nil` nulls, `true` is 1 (a boolean after `redis.setresp(3)`). A table
//! is what its first fitting field says: `err`, `ok`, `double`, `big_number`, `verbatim_string`, `map`, `set`; else an array up to its
//! first nil. Fields are read without metamethods.
//!
//! The walk is a loop with its own stack of [`Step`]s beside Lua's, so that depth costs no stack of the thread. Lua's stack
//! ends the nesting at about 8000 with an error in place, as in Redis. A table that contains itself twice would
//! write without end: the host is asked now and then, and the bytes are bounded.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};

use crate::resp::{Proto, Reply};
use crate::script::vm::{current, string_at, until_zero};

/// Slots of Lua's stack that one value may need, as in Redis.
const SLOTS_PER_VALUE: c_int = 4;
/// After this many values the host is asked.
const VALUES_PER_TICK: u32 = 1000;

/// A table being written: what comes next. It lies on Lua's stack, a map or a set above the table whose field it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Element of this index.
    Element(c_int),
    /// Next pair of a map.
    Pair,
    /// Value of the pair whose key was just written.
    PairValue,
    /// Next member of a set.
    Member,
}

/// Why a result was not written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// The host has ended the run.
    Stopped,
    /// The reply is longer than allowed.
    TooLong,
}

/// Writes the value on top of the stack and takes it away. `steps` is empty, kept outside because errors of Lua drop nothing.
pub(super) unsafe fn write_result(
    lua: *mut lua_State,
    reply: &mut Reply<'_>,
    proto: Proto,
    bytes_max: usize,
    steps: &mut Vec<Step>,
) -> Result<(), Unwritten> {
    let mut walk = Walk { lua, reply, proto, steps };
    let mut ticks = 0;
    loop {
        unsafe {
            walk.write_top();
            ticks += 1;
            if ticks == VALUES_PER_TICK {
                ticks = 0;
                let run = current();
                if !run.is_null() && !(*run).tick() {
                    return Err(Unwritten::Stopped);
                }
            }
            if walk.reply.len() > bytes_max {
                return Err(Unwritten::TooLong);
            }
            if !walk.advance() {
                return Ok(());
            }
        }
    }
}

struct Walk<'a, 'b> {
    lua: *mut lua_State,
    reply: &'a mut Reply<'b>,
    proto: Proto,
    steps: &'a mut Vec<Step>,
}

impl Walk<'_, '_> {
    /// Writes the value on top, or begins it if it is a table of several.
    unsafe fn write_top(&mut self) {
        let lua = self.lua;
        unsafe {
            if ffi::lua_checkstack(lua, SLOTS_PER_VALUE) == 0 {
                self.reply.error("ERR reached lua stack limit");
                ffi::lua_settop(lua, -2);
                return;
            }
            match ffi::lua_type(lua, -1) {
                ffi::LUA_TSTRING => self.reply.bulk(string_at(lua, -1).unwrap_or_default()),
                ffi::LUA_TBOOLEAN => match (self.proto, ffi::lua_toboolean(lua, -1) != 0) {
                    (Proto::Resp2, true) => self.reply.integer(1),
                    (Proto::Resp2, false) => self.reply.null(),
                    (Proto::Resp3, value) => self.reply.boolean(value),
                },
                ffi::LUA_TNUMBER => self.reply.integer(to_i64(ffi::lua_tonumber(lua, -1))),
                ffi::LUA_TTABLE => {
                    if self.begin_table() {
                        return;
                    }
                }
                _ => self.reply.null(),
            }
            ffi::lua_settop(lua, -2);
        }
    }

    /// Writes the table on top. Whether its elements come next; else all is written.
    unsafe fn begin_table(&mut self) -> bool {
        unsafe {
            if self.write_text_table() || self.write_verbatim() {
                return false;
            }
            if self.begin_pairs(c"map", Step::Pair) || self.begin_pairs(c"set", Step::Member) {
                return true;
            }
            let mut count = 0;
            loop {
                ffi::lua_rawgeti_(self.lua, -1, count + 1);
                let is_end = ffi::lua_type(self.lua, -1) == ffi::LUA_TNIL;
                ffi::lua_settop(self.lua, -2);
                if is_end || count == c_int::MAX - 1 {
                    break;
                }
                count += 1;
            }
            self.reply.array(count as usize);
            self.steps.push(Step::Element(1));
            true
        }
    }

    /// Writes a table whose meaning is one string or number.
    unsafe fn write_text_table(&mut self) -> bool {
        let lua = self.lua;
        unsafe {
            for name in [c"err", c"ok", c"double", c"big_number"] {
                push_field(lua, name);
                let text = string_at(lua, -1);
                match text {
                    Some(text) if name == c"err" => self.reply.error_bytes(until_zero(text)),
                    Some(text) if name == c"ok" => self.write_line(b"+", until_zero(text)),
                    Some(text) if name == c"big_number" && self.reply.proto() == Proto::Resp3 => {
                        self.write_line(b"(", text);
                    }
                    Some(text) if name == c"big_number" => {
                        self.reply.bulk_with(text.len(), |out| out.extend(text.iter().map(without_line_end)));
                    }
                    None if name == c"double" && ffi::lua_type(lua, -1) == ffi::LUA_TNUMBER => {
                        self.reply.double(ffi::lua_tonumber(lua, -1));
                    }
                    _ => {
                        ffi::lua_settop(lua, -2);
                        continue;
                    }
                }
                ffi::lua_settop(lua, -2);
                return true;
            }
            false
        }
    }

    /// A line of which line ends inside have become blanks.
    fn write_line(&mut self, kind: &[u8], text: &[u8]) {
        self.reply.raw(kind);
        for part in text.chunk_by(|a, b| (*a == b'\r' || *a == b'\n') == (*b == b'\r' || *b == b'\n')) {
            if part[0] == b'\r' || part[0] == b'\n' {
                part.iter().for_each(|_| self.reply.raw(b" "));
            } else {
                self.reply.raw(part);
            }
        }
        self.reply.raw(b"\r\n");
    }

    unsafe fn write_verbatim(&mut self) -> bool {
        let lua = self.lua;
        unsafe {
            let top = ffi::lua_gettop(lua);
            push_field(lua, c"verbatim_string");
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
                push_field(lua, c"format");
                ffi::lua_pushvalue(lua, -2);
                push_field(lua, c"string");
                if let (Some(format), Some(text)) = (string_at(lua, -3), string_at(lua, -1)) {
                    self.reply.verbatim(until_zero(format), text);
                    ffi::lua_settop(lua, top);
                    return true;
                }
            }
            ffi::lua_settop(lua, top);
            false
        }
    }

    /// Begins a table whose field `name` is a table of pairs.
    unsafe fn begin_pairs(&mut self, name: &CStr, step: Step) -> bool {
        let lua = self.lua;
        unsafe {
            push_field(lua, name);
            if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
                ffi::lua_settop(lua, -2);
                return false;
            }
            let mut count = 0;
            ffi::lua_pushnil(lua);
            while ffi::lua_next(lua, -2) != 0 {
                ffi::lua_settop(lua, -2);
                count += 1;
            }
            match step {
                Step::Member => self.reply.set(count),
                _ => self.reply.map(count),
            }
            ffi::lua_pushnil(lua);
            self.steps.push(step);
            true
        }
    }

    /// Brings the next value to the top. False if there is none.
    unsafe fn advance(&mut self) -> bool {
        let lua = self.lua;
        while let Some(step) = self.steps.last_mut() {
            unsafe {
                match step {
                    Step::Element(index) => {
                        ffi::lua_rawgeti_(lua, -1, *index);
                        if ffi::lua_type(lua, -1) != ffi::LUA_TNIL {
                            *index += 1;
                            return true;
                        }
                    }
                    Step::Pair => {
                        if ffi::lua_next(lua, -2) != 0 {
                            ffi::lua_pushvalue(lua, -2);
                            *step = Step::PairValue;
                            return true;
                        }
                    }
                    Step::PairValue => {
                        *step = Step::Pair;
                        return true;
                    }
                    Step::Member => {
                        if ffi::lua_next(lua, -2) != 0 {
                            ffi::lua_settop(lua, -2);
                            ffi::lua_pushvalue(lua, -1);
                            return true;
                        }
                    }
                }
                // Ended: two slots go either way, nil and array, or map and the table around it.
                ffi::lua_settop(lua, -3);
            }
            self.steps.pop();
        }
        false
    }
}

/// Pushes the field `name` of the table on top, without metamethods.
unsafe fn push_field(lua: *mut lua_State, name: &CStr) {
    unsafe {
        ffi::lua_pushstring_(lua, name.as_ptr());
        ffi::lua_rawget_(lua, -2);
    }
}

fn without_line_end(byte: &u8) -> u8 {
    if *byte == b'\r' || *byte == b'\n' { b' ' } else { *byte }
}

/// A number as C's conversion to `long long` makes it: what does not fit becomes the least one.
fn to_i64(number: f64) -> i64 {
    let is_in_range = number >= i64::MIN as f64 && number < i64::MAX as f64;
    if is_in_range { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::to_i64;

    #[test]
    fn numbers_are_cut_off_and_strange_ones_are_the_least() {
        assert_eq!((to_i64(3.99), to_i64(-3.99)), (3, -3));
        for strange in [f64::NAN, f64::INFINITY, 1e100, -1e100, 9_223_372_036_854_775_808.0] {
            assert_eq!(to_i64(strange), i64::MIN);
        }
        assert_eq!(to_i64(-9_223_372_036_854_775_808.0), i64::MIN);
    }
}
