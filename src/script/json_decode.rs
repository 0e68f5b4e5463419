//! JSON to Lua values: `cjson.decode`.
//!
//! One token at a time, pushing values as they end. The text ends at its first zero byte. What is not JSON but a number to C (`inf`,
//! `0x10`, `+7`) is read unless `decode_invalid_numbers` forbids it. A text without escapes is pushed from where it lies.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use mlua::ffi::{self, lua_State};

use crate::script::cjson::DEPTH_MAX;
use crate::script::json_config::{JsonConfig, config_of};
use crate::script::vm::{Run, bytes_at, current, push_bytes, raise_at_caller};

/// A token; a text is already pushed when it is seen.
#[derive(Clone, Copy)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static CStr),
}

impl Token {
    /// The name in error texts.
    fn name(self) -> &'static CStr {
        match self {
            Token::ObjectBegin => c"T_OBJ_BEGIN",
            Token::ObjectEnd => c"T_OBJ_END",
            Token::ArrayBegin => c"T_ARR_BEGIN",
            Token::ArrayEnd => c"T_ARR_END",
            Token::Text => c"T_STRING",
            Token::Number(_) => c"T_NUMBER",
            Token::Boolean(_) => c"T_BOOLEAN",
            Token::Null => c"T_NULL",
            Token::Colon => c"T_COLON",
            Token::Comma => c"T_COMMA",
            Token::End => c"T_END",
            Token::Error(what) => what,
        }
    }
}

struct Parser<'a> {
    lua: *mut lua_State,
    run: *mut Run,
    text: &'a [u8],
    /// Where the next token is looked for.
    position: usize,
    /// Where the last token began, or where it went wrong.
    token_start: usize,
    config: JsonConfig,
}

pub(super) unsafe extern "C-unwind" fn decode(lua: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            ffi::luaL_argerror(lua, 1, c"expected 1 argument".as_ptr());
        }
        let mut len = 0;
        let start = ffi::luaL_checklstring(lua, 1, &raw mut len);
        let text = bytes_at(start, len);
        // Such a zero means that characters have two or four bytes.
        if len >= 2 && (text[0] == 0 || text[1] == 0) {
            raise_at_caller(lua, b"JSON parser does not support UTF-16 or UTF-32");
        }
        let config = *config_of(lua);
        let mut parser = Parser { lua, run: current(), text, position: 0, token_start: 0, config };
        if parser.run.is_null() {
            raise_at_caller(lua, b"cjson can only be used inside a script invocation");
        }
        let token = parser.next();
        parser.push_value(token, 0);
        let token = parser.next();
        if !matches!(token, Token::End) {
            parser.refuse(c"the end", token);
        }
        (*parser.run).clear_scratch();
        1
    }
}

impl Parser<'_> {
    /// The byte at `position`, zero behind the end.
    fn byte(&self, position: usize) -> u8 {
        self.text.get(position).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    unsafe fn refuse(&self, expected: &CStr, token: Token) -> ! {
        unsafe {
            ffi::luaL_error(
                self.lua,
                c"Expected %s but found %s at character %d".as_ptr(),
                expected.as_ptr(),
                token.name().as_ptr(),
                (self.token_start + 1) as c_int,
            );
            ffi::lua_error(self.lua)
        }
    }

    fn wrong(&mut self, what: &'static CStr) -> Token {
        self.token_start = self.position;
        Token::Error(what)
    }

    fn step(&mut self, len: usize, token: Token) -> Token {
        self.position += len;
        token
    }

    /// The next token; a text is pushed.
    unsafe fn next(&mut self) -> Token {
        while matches!(self.byte(self.position), b' ' | b'\t' | b'\n' | b'\r') {
            self.position += 1;
        }
        self.token_start = self.position;
        let byte = self.byte(self.position);
        match byte {
            0 => Token::End,
            b'{' => self.step(1, Token::ObjectBegin),
            b'}' => self.step(1, Token::ObjectEnd),
            b'[' => self.step(1, Token::ArrayBegin),
            b']' => self.step(1, Token::ArrayEnd),
            b',' => self.step(1, Token::Comma),
            b':' => self.step(1, Token::Colon),
            b'"' => unsafe { self.text_token() },
            b'-' | b'0'..=b'9' if self.config.decode_invalid == 0 && self.is_invalid_number() => {
                self.wrong(c"invalid number")
            }
            b'-' | b'0'..=b'9' => self.number_token(),
            _ if self.rest().starts_with(b"true") => self.step(4, Token::Boolean(true)),
            _ if self.rest().starts_with(b"false") => self.step(5, Token::Boolean(false)),
            _ if self.rest().starts_with(b"null") => self.step(4, Token::Null),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.config.decode_invalid != 0 && self.is_invalid_number() =>
            {
                self.number_token()
            }
            _ => self.wrong(c"invalid token"),
        }
    }

    /// Whether what comes is a number to C and not to JSON.
    fn is_invalid_number(&self) -> bool {
        let rest = match self.rest() {
            [b'+', ..] => return true,
            [b'-', rest @ ..] => rest,
            rest => rest,
        };
        match rest {
            [b'0', next, ..] => next | 0x20 == b'x' || next.is_ascii_digit(),
            [first, ..] if *first <= b'9' => false,
            [a, b, c, ..] => {
                [*a, *b, *c].eq_ignore_ascii_case(b"inf") || [*a, *b, *c].eq_ignore_ascii_case(b"nan")
            }
            _ => false,
        }
    }

    fn number_token(&mut self) -> Token {
        let mut end: *mut c_char = ptr::null_mut();
        let start: *const c_char = self.rest().as_ptr().cast();
        // SAFETY: a string of Lua has a zero behind its end, and the position is within it.
        let (number, len) = unsafe {
            let number = libc::strtod(start, &raw mut end);
            (number, end.cast_const().offset_from(start))
        };
        match usize::try_from(len) {
            Ok(len) if len > 0 => self.step(len, Token::Number(number)),
            _ => self.wrong(c"invalid number"),
        }
    }

    /// Pushes the text that begins here.
    unsafe fn text_token(&mut self) -> Token {
        self.position += 1;
        let start = self.position;
        loop {
            match self.byte(self.position) {
                b'"' => break,
                b'\\' => return unsafe { self.escaped_text(start) },
                0 => return self.wrong(c"unexpected end of string"),
                _ => self.position += 1,
            }
        }
        unsafe { self.push_text(&self.text[start..self.position]) };
        self.position += 1;
        Token::Text
    }

    unsafe fn push_text(&self, text: &[u8]) {
        unsafe {
            ffi::luaL_checkstack(self.lua, 1, c"too many values".as_ptr());
            push_bytes(self.lua, text);
        }
    }

    /// Same for one with escapes, of which the first is at the position.
    unsafe fn escaped_text(&mut self, start: usize) -> Token {
        // SAFETY: the run lives as long as the call, and nothing else holds its scratch.
        let out = unsafe { &mut (*self.run).scratch };
        out.clear();
        out.extend_from_slice(&self.text[start..self.position]);
        loop {
            let byte = match self.byte(self.position) {
                b'"' => break,
                0 => return self.wrong(c"unexpected end of string"),
                b'\\' => match self.byte(self.position + 1) {
                    escape @ (b'"' | b'\\' | b'/') => escape,
                    b'b' => 0x08,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'f' => 0x0C,
                    b'r' => b'\r',
                    b'u' => match self.unicode_escape() {
                        Some((character, len)) => {
                            let mut utf8 = [0; 4];
                            out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                            self.position += len;
                            continue;
                        }
                        None => return self.wrong(c"invalid unicode escape code"),
                    },
                    _ => return self.wrong(c"invalid escape code"),
                },
                byte => {
                    out.push(byte);
                    self.position += 1;
                    continue;
                }
            };
            out.push(byte);
            self.position += 2;
        }
        self.position += 1;
        unsafe { self.push_text(std::slice::from_raw_parts(out.as_ptr(), out.len())) };
        Token::Text
    }

    /// The character of the `\u` escape here, and the length of the escape: two of them for a pair of surrogates.
    fn unicode_escape(&self) -> Option<(char, usize)> {
        const ESCAPE_LEN: usize = 6;
        let first = self.hex4(self.position + 2)?;
        if first & 0xF800 != 0xD800 {
            return Some((char::from_u32(first)?, ESCAPE_LEN));
        }
        let second = self.position + ESCAPE_LEN;
        if first & 0x400 != 0 || self.byte(second) != b'\\' || self.byte(second + 1) != b'u' {
            return None;
        }
        let low = self.hex4(second + 2)?;
        if low & 0xFC00 != 0xDC00 {
            return None;
        }
        let code = ((first & 0x3FF) << 10 | low & 0x3FF) + 0x1_0000;
        Some((char::from_u32(code)?, 2 * ESCAPE_LEN))
    }

    fn hex4(&self, position: usize) -> Option<u32> {
        let digits = self.text.get(position..position + 4)?;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Pushes the value that begins with `token`.
    unsafe fn push_value(&mut self, token: Token, depth: c_int) {
        unsafe {
            match token {
                Token::Text => {}
                Token::Number(number) => ffi::lua_pushnumber(self.lua, number),
                Token::Boolean(value) => ffi::lua_pushboolean(self.lua, c_int::from(value)),
                Token::Null => ffi::lua_pushlightuserdata(self.lua, ptr::null_mut()),
                Token::ObjectBegin => self.push_object(depth + 1),
                Token::ArrayBegin => self.push_array(depth + 1),
                _ => self.refuse(c"value", token),
            }
        }
    }

    unsafe fn descend(&self, depth: c_int) {
        let is_too_deep = depth > self.config.decode_depth_max.min(DEPTH_MAX);
        unsafe {
            if is_too_deep || ffi::lua_checkstack(self.lua, 4) == 0 {
                let format = c"Found too many nested data structures (%d) at character %d".as_ptr();
                ffi::luaL_error(self.lua, format, depth, self.position as c_int);
            }
        }
    }

    unsafe fn push_object(&mut self, depth: c_int) {
        unsafe {
            self.descend(depth);
            ffi::lua_createtable(self.lua, 0, 0);
            let mut token = self.next();
            if matches!(token, Token::ObjectEnd) {
                return;
            }
            loop {
                if !matches!(token, Token::Text) {
                    self.refuse(c"object key string", token);
                }
                token = self.next();
                if !matches!(token, Token::Colon) {
                    self.refuse(c"colon", token);
                }
                token = self.next();
                self.push_value(token, depth);
                ffi::lua_rawset(self.lua, -3);
                token = self.next();
                match token {
                    Token::ObjectEnd => return,
                    Token::Comma => token = self.next(),
                    _ => self.refuse(c"comma or object end", token),
                }
            }
        }
    }

    unsafe fn push_array(&mut self, depth: c_int) {
        unsafe {
            self.descend(depth);
            ffi::lua_createtable(self.lua, 0, 0);
            let mut token = self.next();
            if matches!(token, Token::ArrayEnd) {
                return;
            }
            for i in 1.. {
                self.push_value(token, depth);
                ffi::lua_rawseti_(self.lua, -2, i);
                token = self.next();
                match token {
                    Token::ArrayEnd => return,
                    Token::Comma => token = self.next(),
                    _ => self.refuse(c"comma or array end", token),
                }
            }
        }
    }
}
