//! The library `struct`: numbers and strings to bytes in a given layout, and back.
//!
//! A format is a row of options: `b B h H l L T i[n] I[n]` integers, `f d` floats, `x` a padding byte, `c[n]` a text of n bytes,
//! `s` a text up to its zero; `< >` set the byte order, `![n]` the alignment. Native order and no alignment to begin with.
//! Integers have 64 bits; in more than 8 bytes they are padded by zeros.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::{Run, bytes_at, current, push_bytes, raise_at_caller};

/// The functions, by name.
pub(super) const FUNCTIONS: &[(&str, lua_CFunction)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

/// Alignment of a lone `!`.
const ALIGN_DEFAULT: usize = 8;
/// Bytes an integer may have.
const INTEGER_BYTES_MAX: usize = 32;

/// Reads a format, option by option.
struct Format<'a> {
    lua: *mut lua_State,
    rest: &'a [u8],
    is_big_endian: bool,
    align: usize,
}

impl<'a> Format<'a> {
    /// The format in the first argument, up to its first zero.
    unsafe fn of_argument(lua: *mut lua_State) -> Format<'a> {
        let rest = unsafe { CStr::from_ptr(ffi::luaL_checklstring(lua, 1, std::ptr::null_mut())).to_bytes() };
        Format { lua, rest, is_big_endian: cfg!(target_endian = "big"), align: 1 }
    }

    /// The next option and its size.
    unsafe fn next(&mut self) -> Option<(u8, usize)> {
        let (&option, rest) = self.rest.split_first()?;
        self.rest = rest;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => unsafe { self.number(1) },
            b'i' | b'I' => {
                let size = unsafe { self.number(4) };
                if size > INTEGER_BYTES_MAX {
                    unsafe {
                        ffi::luaL_error(
                            self.lua,
                            c"integral size %d is larger than limit of %d".as_ptr(),
                            size as c_int,
                            INTEGER_BYTES_MAX as c_int,
                        );
                    }
                }
                size
            }
            _ => 0,
        };
        Some((option, size))
    }

    /// The digits that follow, or `default` if there are none.
    unsafe fn number(&mut self, default: usize) -> usize {
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return default;
        }
        let mut number: i32 = 0;
        for &digit in &self.rest[..digits] {
            let next = number.checked_mul(10).and_then(|n| n.checked_add(i32::from(digit - b'0')));
            number = match next {
                Some(next) => next,
                None => unsafe { raise_at_caller(self.lua, b"integral size overflow") },
            };
        }
        self.rest = &self.rest[digits..];
        number as usize
    }

    /// Padding before something of `size` at `position`.
    fn padding(&self, position: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(position & (size - 1)) & (size - 1)
    }

    /// Obeys an option that stands for no bytes.
    unsafe fn control(&mut self, option: u8) {
        match option {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => unsafe {
                let align = self.number(ALIGN_DEFAULT);
                if !align.is_power_of_two() {
                    let format = c"alignment %d is not a power of 2".as_ptr();
                    ffi::luaL_error(self.lua, format, align as c_int);
                }
                self.align = align;
            },
            _ => unsafe {
                let text = ffi::lua_pushfstring(
                    self.lua,
                    c"invalid format option '%c'".as_ptr(),
                    c_int::from(option),
                );
                ffi::luaL_argerror(self.lua, 1, text);
            },
        }
    }
}

/// Bytes of a number in the order wanted.
fn ordered<const N: usize>(mut bytes: [u8; N], is_big_endian: bool) -> [u8; N] {
    if is_big_endian {
        bytes.reverse();
    }
    bytes
}

unsafe extern "C-unwind" fn pack(lua: *mut lua_State) -> c_int {
    unsafe {
        let run = current();
        if run.is_null() {
            raise_at_caller(lua, b"struct can only be used inside a script invocation");
        }
        let mut format = Format::of_argument(lua);
        (*run).scratch.clear();
        // What a missing argument is, in errors.
        ffi::lua_pushnil(lua);
        let mut argument = 1;
        while let Some((option, size)) = format.next() {
            let padding = format.padding((*run).scratch.len(), option, size);
            (*run).pad_scratch(padding);
            match option {
                b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                    argument += 1;
                    let number = ffi::luaL_checknumber(lua, argument);
                    put_integer(run, number, size, format.is_big_endian);
                }
                b'x' => (*run).pad_scratch(1),
                b'f' => {
                    argument += 1;
                    let number = ffi::luaL_checknumber(lua, argument) as f32;
                    (*run).scratch.extend_from_slice(&ordered(number.to_le_bytes(), format.is_big_endian));
                }
                b'd' => {
                    argument += 1;
                    let number = ffi::luaL_checknumber(lua, argument);
                    (*run).scratch.extend_from_slice(&ordered(number.to_le_bytes(), format.is_big_endian));
                }
                b'c' | b's' => {
                    argument += 1;
                    let mut len = 0;
                    let start = ffi::luaL_checklstring(lua, argument, &raw mut len);
                    let wanted = if size == 0 { len } else { size };
                    if len < wanted {
                        ffi::luaL_argerror(lua, argument + 1, c"string too short".as_ptr());
                    }
                    (*run).scratch.extend_from_slice(bytes_at(start, wanted));
                    if option == b's' {
                        (*run).pad_scratch(1);
                    }
                }
                _ => format.control(option),
            }
        }
        let packed = std::slice::from_raw_parts((*run).scratch.as_ptr(), (*run).scratch.len());
        push_bytes(lua, packed);
        (*run).clear_scratch();
        1
    }
}

/// Appends an integer of `size` bytes, at most 32.
unsafe fn put_integer(run: *mut Run, number: f64, size: usize, is_big_endian: bool) {
    let value = if number < 0.0 { as_c_long(number) as u64 } else { as_c_unsigned_long(number) };
    let mut bytes = [0; INTEGER_BYTES_MAX];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    let bytes = &mut bytes[..size];
    if is_big_endian {
        bytes.reverse();
    }
    unsafe { (*run).scratch.extend_from_slice(bytes) };
}

/// C's conversion to `long` on a machine that answers the least one for what does not fit.
fn as_c_long(number: f64) -> i64 {
    let is_in_range = number >= i64::MIN as f64 && number < i64::MAX as f64;
    if is_in_range { number as i64 } else { i64::MIN }
}

/// The same for `unsigned long`.
fn as_c_unsigned_long(number: f64) -> u64 {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if number < TWO_63 || number.is_nan() {
        as_c_long(number) as u64
    } else {
        (as_c_long(number - TWO_63) as u64) ^ (1 << 63)
    }
}

unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    unsafe {
        let mut format = Format::of_argument(lua);
        let mut len = 0;
        let start = ffi::luaL_checklstring(lua, 2, &raw mut len);
        let data = bytes_at(start, len);
        let from = ffi::luaL_optinteger(lua, 3, 1);
        if from == 0 {
            ffi::luaL_argerror(lua, 3, c"offset must be 1 or greater".as_ptr());
        }
        // Before the first byte is as far away as can be.
        let mut position = (from as usize).wrapping_sub(1);
        let mut count: c_int = 0;
        while let Some((option, mut size)) = format.next() {
            position = position.saturating_add(format.padding(position, option, size));
            check_room(lua, data, position, size);
            ffi::luaL_checkstack(lua, 2, c"too many results".as_ptr());
            let bytes = |size: usize| &data[position..position + size];
            match option {
                b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                    let is_signed = option.is_ascii_lowercase();
                    ffi::lua_pushnumber(lua, integer(bytes(size), format.is_big_endian, is_signed));
                    count += 1;
                }
                b'x' => {}
                b'f' => {
                    let mut number = [0; 4];
                    number.copy_from_slice(bytes(4));
                    let number = f32::from_le_bytes(ordered(number, format.is_big_endian));
                    ffi::lua_pushnumber(lua, f64::from(number));
                    count += 1;
                }
                b'd' => {
                    let mut number = [0; 8];
                    number.copy_from_slice(bytes(8));
                    ffi::lua_pushnumber(lua, f64::from_le_bytes(ordered(number, format.is_big_endian)));
                    count += 1;
                }
                b'c' => {
                    if size == 0 {
                        if count == 0 || ffi::lua_isnumber(lua, -1) == 0 {
                            raise_at_caller(lua, b"format 'c0' needs a previous size");
                        }
                        size = as_c_unsigned_long(ffi::lua_tonumber(lua, -1)) as usize;
                        ffi::lua_settop(lua, -2);
                        count -= 1;
                        check_room(lua, data, position, size);
                    }
                    push_bytes(lua, &data[position..position + size]);
                    count += 1;
                }
                b's' => {
                    let Some(end) = data[position..].iter().position(|&b| b == 0) else {
                        raise_at_caller(lua, b"unfinished string in data");
                    };
                    push_bytes(lua, &data[position..position + end]);
                    size = end + 1;
                    count += 1;
                }
                _ => format.control(option),
            }
            position += size;
        }
        ffi::lua_pushinteger(lua, position as ffi::lua_Integer + 1);
        count + 1
    }
}

unsafe fn check_room(lua: *mut lua_State, data: &[u8], position: usize, size: usize) {
    if size > data.len() || position > data.len() - size {
        unsafe { ffi::luaL_argerror(lua, 2, c"data string too short".as_ptr()) };
    }
}

/// The number that the bytes stand for. Beyond 8 bytes the lowest 64 bits count.
fn integer(bytes: &[u8], is_big_endian: bool, is_signed: bool) -> f64 {
    let mut value: u64 = 0;
    let mut add = |byte: &u8| value = value << 8 | u64::from(*byte);
    if is_big_endian {
        bytes.iter().for_each(&mut add)
    } else {
        bytes.iter().rev().for_each(&mut add)
    }
    if !is_signed {
        return value as f64;
    }
    // Shifts count modulo 64, as the processor does it.
    let sign = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
    if value & sign != 0 {
        value |= sign;
    }
    value as i64 as f64
}

unsafe extern "C-unwind" fn size(lua: *mut lua_State) -> c_int {
    unsafe {
        let mut format = Format::of_argument(lua);
        let mut position: usize = 0;
        while let Some((option, size)) = format.next() {
            position = position.saturating_add(format.padding(position, option, size));
            if option == b's' {
                ffi::luaL_argerror(lua, 1, c"option 's' has no fixed size".as_ptr());
            }
            if option == b'c' && size == 0 {
                ffi::luaL_argerror(lua, 1, c"option 'c0' has no fixed size".as_ptr());
            }
            if !option.is_ascii_alphanumeric() {
                format.control(option);
            }
            position = position.saturating_add(size);
        }
        ffi::lua_pushinteger(lua, position as ffi::lua_Integer);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::{as_c_unsigned_long, integer};

    #[test]
    fn integers_have_a_sign_and_an_order() {
        assert_eq!(integer(&[1, 2], true, false), 258.0);
        assert_eq!(integer(&[1, 2], false, false), 513.0);
        assert_eq!(integer(&[0xFF, 0xFE], true, true), -2.0);
        assert_eq!(integer(&[], true, true), 0.0);
        assert_eq!(integer(&[0xFF; 8], true, true), -1.0);
        assert_eq!(integer(&[0; 32], true, true), 0.0);
    }

    #[test]
    fn large_numbers_keep_their_upper_half() {
        assert_eq!(as_c_unsigned_long(9_223_372_036_854_775_808.0), 1 << 63);
        assert_eq!(as_c_unsigned_long(3.9), 3);
    }
}
