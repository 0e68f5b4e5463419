//! The library `bit`: operations on 32-bit numbers, after BitOp 1.0.2.
//!
//! An argument is a number modulo 2^32, rounded to the nearest even one; a result is signed.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::push_bytes;

/// The functions, by name.
pub(super) const FUNCTIONS: &[(&str, lua_CFunction)] = &[
    ("tobit", to_bit),
    ("bnot", not),
    ("band", and),
    ("bor", or),
    ("bxor", xor),
    ("lshift", shift_left),
    ("rshift", shift_right),
    ("arshift", shift_right_signed),
    ("rol", rotate_left),
    ("ror", rotate_right),
    ("bswap", swap_bytes),
    ("tohex", to_hex),
];

/// The lower 32 bits of a number. Adding 1.5 * 2^52 brings its integer part into the lower bits of the double.
fn low_bits(number: f64) -> u32 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    (number + MAGIC).to_bits() as u32
}

unsafe fn argument(lua: *mut lua_State, i: c_int) -> u32 {
    unsafe {
        let bits = low_bits(ffi::lua_tonumber(lua, i));
        if bits == 0 && ffi::lua_isnumber(lua, i) == 0 {
            ffi::luaL_typerror(lua, i, c"number".as_ptr());
        }
        bits
    }
}

unsafe fn answer(lua: *mut lua_State, bits: u32) -> c_int {
    unsafe { ffi::lua_pushnumber(lua, f64::from(bits as i32)) };
    1
}

unsafe extern "C-unwind" fn to_bit(lua: *mut lua_State) -> c_int {
    unsafe { answer(lua, argument(lua, 1)) }
}

unsafe extern "C-unwind" fn not(lua: *mut lua_State) -> c_int {
    unsafe { answer(lua, !argument(lua, 1)) }
}

/// Combines all arguments, the first with the last ones first.
unsafe fn fold(lua: *mut lua_State, combine: fn(u32, u32) -> u32) -> c_int {
    unsafe {
        let mut bits = argument(lua, 1);
        for i in (2..=ffi::lua_gettop(lua)).rev() {
            bits = combine(bits, argument(lua, i));
        }
        answer(lua, bits)
    }
}

unsafe extern "C-unwind" fn and(lua: *mut lua_State) -> c_int {
    unsafe { fold(lua, |a, b| a & b) }
}

unsafe extern "C-unwind" fn or(lua: *mut lua_State) -> c_int {
    unsafe { fold(lua, |a, b| a | b) }
}

unsafe extern "C-unwind" fn xor(lua: *mut lua_State) -> c_int {
    unsafe { fold(lua, |a, b| a ^ b) }
}

/// Moves bits by the second argument modulo 32.
unsafe fn shift(lua: *mut lua_State, by: fn(u32, u32) -> u32) -> c_int {
    unsafe {
        let bits = argument(lua, 1);
        let count = argument(lua, 2) & 31;
        answer(lua, by(bits, count))
    }
}

unsafe extern "C-unwind" fn shift_left(lua: *mut lua_State) -> c_int {
    unsafe { shift(lua, |bits, n| bits << n) }
}

unsafe extern "C-unwind" fn shift_right(lua: *mut lua_State) -> c_int {
    unsafe { shift(lua, |bits, n| bits >> n) }
}

unsafe extern "C-unwind" fn shift_right_signed(lua: *mut lua_State) -> c_int {
    unsafe { shift(lua, |bits, n| ((bits as i32) >> n) as u32) }
}

unsafe extern "C-unwind" fn rotate_left(lua: *mut lua_State) -> c_int {
    unsafe { shift(lua, u32::rotate_left) }
}

unsafe extern "C-unwind" fn rotate_right(lua: *mut lua_State) -> c_int {
    unsafe { shift(lua, u32::rotate_right) }
}

unsafe extern "C-unwind" fn swap_bytes(lua: *mut lua_State) -> c_int {
    unsafe { answer(lua, argument(lua, 1).swap_bytes()) }
}

/// So many digits, from the lowest; capital ones if the number of digits is negative.
unsafe extern "C-unwind" fn to_hex(lua: *mut lua_State) -> c_int {
    unsafe {
        let bits = argument(lua, 1);
        let digits = if ffi::lua_type(lua, 2) == ffi::LUA_TNONE { 8 } else { argument(lua, 2) as i32 };
        let set: &[u8; 16] = if digits < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let count = digits.unsigned_abs().min(8) as usize;
        let mut text = [0; 8];
        for (i, digit) in text[..count].iter_mut().rev().enumerate() {
            *digit = set[(bits >> (4 * i) & 15) as usize];
        }
        push_bytes(lua, &text[..count]);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::low_bits;

    #[test]
    fn numbers_wrap_and_round() {
        assert_eq!(low_bits(4_294_967_296.0 + 5.0), 5);
        assert_eq!(low_bits(-1.0), u32::MAX);
        assert_eq!((low_bits(0.5), low_bits(1.5), low_bits(2.5)), (0, 2, 2));
    }
}
