//! Lua's own functions where they need another behaviour: errors and tables that cannot be changed.
//!
//! **Protected tables.** `_G` and the libraries must not be changed by a script. Such a table is an empty one (the *face*)
//! whose metatable reads from the real one and refuses writes. The metatable carries the real table under a key no script can
//! name, by which the functions that go past metamethods (`next`, `rawget`, `rawset` ...) find it.
//!
//! **Stopping.** What catches errors (`pcall`, `xpcall`, `coroutine.resume`, `load`) raises again once the run was stopped.
//!
//! **Bytecode** is never loaded: Lua does not check it.
#![allow(unsafe_code, reason = "C functions of Lua; the rule of vm.rs holds here")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use mlua::ffi::{self, lua_CFunction, lua_State};

use crate::script::vm::{
    bytes_at, current, is_stopped, push_bytes, raise, raise_at_caller, raise_stop, string_at,
};

/// Address whose light userdata is the key of the real table in a face's metatable.
static REAL_KEY: u8 = 1;
/// Address whose light userdata is the key of what `getmetatable` answers for a face.
static META_KEY: u8 = 2;
/// Address whose light userdata is the key, in the registry, of what `getmetatable` answers for strings.
static STRING_META_KEY: u8 = 3;

const READONLY: &[u8] = b"Attempt to modify a readonly table";

/// The functions that replace globals.
pub(super) const GLOBALS: &[(&str, lua_CFunction)] = &[
    ("pcall", pcall),
    ("xpcall", xpcall),
    ("getmetatable", get_metatable),
    ("loadstring", load_string),
    ("load", load),
];

/// Functions of Lua to be called with the real table in place of a face: library, name.
pub(super) const READERS: &[(&str, &str)] = &[
    ("", "next"),
    ("", "rawget"),
    ("table", "foreach"),
    ("table", "foreachi"),
    ("table", "getn"),
    ("table", "maxn"),
];

/// Functions of Lua that refuse a face.
pub(super) const WRITERS: &[(&str, &str)] = &[("", "rawset"), ("", "setmetatable"), ("table", "insert")];

/// Functions of Lua that catch errors, and must not catch the end of a stopped run.
pub(super) const CATCHERS: &[(&str, &str)] = &[("coroutine", "resume")];

fn key(address: &'static u8) -> *mut c_void {
    ptr::from_ref(address).cast_mut().cast()
}

/// Pushes what the metatable of the value at `index` holds under `name` and says true; pushes nothing if it has none.
unsafe fn push_of_face(lua: *mut lua_State, index: c_int, name: &'static u8) -> bool {
    unsafe {
        if ffi::lua_type(lua, index) != ffi::LUA_TTABLE || ffi::lua_getmetatable(lua, index) == 0 {
            return false;
        }
        ffi::lua_pushlightuserdata(lua, key(name));
        ffi::lua_rawget_(lua, -2);
        ffi::lua_remove(lua, -2);
        if ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
            ffi::lua_settop(lua, -2);
            return false;
        }
        true
    }
}

/// Puts the real table in the place of a face on top. Needs two free slots.
pub(super) unsafe fn reveal_top(lua: *mut lua_State) {
    unsafe {
        if push_of_face(lua, -1, &REAL_KEY) {
            ffi::lua_replace(lua, -2);
        }
    }
}

/// Whether the value is the face of a protected table.
unsafe fn is_face(lua: *mut lua_State, index: c_int) -> bool {
    unsafe {
        let is_face = push_of_face(lua, index, &REAL_KEY);
        if is_face {
            ffi::lua_settop(lua, -2);
        }
        is_face
    }
}

/// Makes a face for the table on top and puts it in its place. The table's own metatable, if any, must be a real one; `getmetatable`
/// answers its face.
pub(super) unsafe fn protect_top(lua: *mut lua_State) {
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_createtable(lua, 0, 4);
        // Stack: real, face, metatable.
        ffi::lua_pushvalue(lua, -3);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        ffi::lua_pushcclosure(lua, refuse_write, 0);
        ffi::lua_setfield(lua, -2, c"__newindex".as_ptr());
        ffi::lua_pushlightuserdata(lua, key(&REAL_KEY));
        ffi::lua_pushvalue(lua, -4);
        ffi::lua_rawset(lua, -3);
        if ffi::lua_getmetatable(lua, -3) != 0 {
            protect_top(lua);
            ffi::lua_pushlightuserdata(lua, key(&META_KEY));
            ffi::lua_insert(lua, -2);
            ffi::lua_rawset(lua, -3);
        }
        ffi::lua_setmetatable(lua, -2);
        ffi::lua_remove(lua, -2);
    }
}

/// Makes `getmetatable("")` answer the table on top, and takes it away.
pub(super) unsafe fn set_string_metatable_face(lua: *mut lua_State) {
    unsafe {
        ffi::lua_pushlightuserdata(lua, key(&STRING_META_KEY));
        ffi::lua_insert(lua, -2);
        ffi::lua_rawset(lua, ffi::LUA_REGISTRYINDEX);
    }
}

unsafe extern "C-unwind" fn refuse_write(lua: *mut lua_State) -> c_int {
    unsafe { raise_at_caller(lua, READONLY) }
}

/// `__index` of the real globals: there is no such variable.
pub(super) unsafe extern "C-unwind" fn refuse_global(lua: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(lua) != 2 {
            raise_at_caller(lua, b"Wrong number of arguments to luaProtectedTableError");
        }
        if ffi::lua_isstring(lua, 2) == 0 {
            raise_at_caller(lua, b"Second argument to luaProtectedTableError must be a string or number");
        }
        ffi::luaL_where(lua, 1);
        push_bytes(lua, b"Script attempted to access nonexistent global variable '");
        // A name with a zero in it ends there.
        ffi::lua_pushstring_(lua, ffi::lua_tolstring(lua, 2, ptr::null_mut()));
        push_bytes(lua, b"'");
        ffi::lua_concat(lua, 4);
        ffi::lua_error(lua)
    }
}

/// The C function in the first upvalue.
unsafe fn original(lua: *mut lua_State) -> lua_CFunction {
    match unsafe { ffi::lua_tocfunction(lua, ffi::lua_upvalueindex(1)) } {
        Some(function) => function,
        None => unsafe { raise(lua, b"a function of Lua is not there") },
    }
}

/// Calls the original on the real table.
pub(super) unsafe extern "C-unwind" fn read_real(lua: *mut lua_State) -> c_int {
    unsafe {
        if push_of_face(lua, 1, &REAL_KEY) {
            ffi::lua_replace(lua, 1);
        }
        original(lua)(lua)
    }
}

/// Calls the original unless the table is protected.
pub(super) unsafe extern "C-unwind" fn refuse_face(lua: *mut lua_State) -> c_int {
    unsafe {
        if is_face(lua, 1) {
            raise(lua, READONLY);
        }
        original(lua)(lua)
    }
}

/// Calls the original, and raises again if the run was stopped meanwhile.
pub(super) unsafe extern "C-unwind" fn catch_errors(lua: *mut lua_State) -> c_int {
    unsafe {
        let results = original(lua)(lua);
        if is_stopped() {
            // The stack may be full of results.
            ffi::lua_settop(lua, 0);
            raise_stop(lua);
        }
        results
    }
}

/// `pairs`: as Lua's, but with our `next` (the upvalue).
pub(super) unsafe extern "C-unwind" fn pairs(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(lua, ffi::lua_upvalueindex(1));
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_pushnil(lua);
        3
    }
}

/// `pcall`, which answers the text of an error table rather than the table, as scripts from before Redis 7 expect.
unsafe extern "C-unwind" fn pcall(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_pushboolean(lua, 1);
        ffi::lua_insert(lua, 1);
        let arguments = ffi::lua_gettop(lua) - 2;
        if arguments < 0 {
            // Redis calls its own mark then.
            ffi::lua_settop(lua, 0);
            ffi::lua_pushboolean(lua, 0);
            push_bytes(lua, b"attempt to call a boolean value");
            return 2;
        }
        if ffi::lua_pcall(lua, arguments, ffi::LUA_MULTRET, 0) != 0 {
            ffi::lua_remove(lua, 1);
            if is_stopped() {
                raise_stop(lua);
            }
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
                ffi::lua_getfield_(lua, -1, c"err".as_ptr());
                if ffi::lua_isstring(lua, -1) != 0 {
                    ffi::lua_replace(lua, -2);
                }
            }
            ffi::lua_pushboolean(lua, 0);
            ffi::lua_insert(lua, 1);
        }
        ffi::lua_gettop(lua)
    }
}

/// Calls the handler of an `xpcall`, the upvalue, but none any more once the run was stopped: handlers that fail
/// are called again, those of nested calls would multiply.
unsafe extern "C-unwind" fn handle_error(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_settop(lua, 1);
        if !is_stopped() {
            ffi::lua_pushvalue(lua, ffi::lua_upvalueindex(1));
            ffi::lua_insert(lua, 1);
            ffi::lua_call(lua, 1, 1);
        }
        1
    }
}

/// `xpcall`, as Lua's.
unsafe extern "C-unwind" fn xpcall(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkany(lua, 2);
        ffi::lua_settop(lua, 2);
        if is_stopped() {
            raise_stop(lua);
        }
        // A handler of C looks at the stack it is called on.
        if ffi::lua_iscfunction(lua, 2) == 0 {
            ffi::lua_pushcclosure(lua, handle_error, 1);
        }
        ffi::lua_insert(lua, 1);
        let status = ffi::lua_pcall(lua, 0, ffi::LUA_MULTRET, 1);
        if status != 0 && is_stopped() {
            ffi::lua_settop(lua, 0);
            raise_stop(lua);
        }
        // Takes the place of the handler, since the results may fill the stack.
        ffi::lua_checkstack(lua, 1);
        ffi::lua_pushboolean(lua, c_int::from(status == 0));
        ffi::lua_replace(lua, 1);
        ffi::lua_gettop(lua)
    }
}

/// `getmetatable`: of a protected table and of strings, protected tables.
unsafe extern "C-unwind" fn get_metatable(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkany(lua, 1);
        if ffi::lua_type(lua, 1) == ffi::LUA_TSTRING {
            ffi::lua_pushlightuserdata(lua, key(&STRING_META_KEY));
            ffi::lua_rawget_(lua, ffi::LUA_REGISTRYINDEX);
        } else if is_face(lua, 1) {
            if !push_of_face(lua, 1, &META_KEY) {
                ffi::lua_pushnil(lua);
            }
        } else if ffi::lua_getmetatable(lua, 1) == 0 {
            ffi::lua_pushnil(lua);
        } else if ffi::luaL_getmetafield_(lua, 1, c"__metatable".as_ptr()) == 0 {
            // The metatable itself is on top.
        }
        1
    }
}

/// Hands a text, or what a function answers, to Lua's parser. A blank before bytecode makes it text that does not parse.
struct Source {
    text: *const c_char,
    len: usize,
    /// Whether pieces come from the function at slot 1 instead.
    asks: bool,
    has_begun: bool,
}

const BYTECODE_MARK: u8 = 0x1B;

unsafe extern "C-unwind" fn read_source(
    lua: *mut lua_State,
    data: *mut c_void,
    size: *mut usize,
) -> *const c_char {
    unsafe {
        let source = &mut *data.cast::<Source>();
        if source.asks {
            return ask_piece(lua, source, size);
        }
        let text = bytes_at(source.text, source.len);
        if !source.has_begun {
            source.has_begun = true;
            if text.first() == Some(&BYTECODE_MARK) {
                *size = 1;
                return c" ".as_ptr();
            }
        }
        *size = source.len;
        source.len = 0;
        if *size == 0 { ptr::null() } else { source.text }
    }
}

/// The next piece of the function at slot 1; it is kept at slot 3.
unsafe fn ask_piece(lua: *mut lua_State, source: &mut Source, size: *mut usize) -> *const c_char {
    unsafe {
        let run = current();
        if !run.is_null() && ((*run).stop.is_some() || !(*run).tick()) {
            raise_stop(lua);
        }
        ffi::luaL_checkstack(lua, 2, c"too many nested functions".as_ptr());
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_call(lua, 0, 1);
        if ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
            *size = 0;
            return ptr::null();
        }
        if ffi::lua_isstring(lua, -1) == 0 {
            raise_at_caller(lua, b"reader function must return a string");
        }
        let piece = ffi::lua_tolstring(lua, -1, size);
        if !source.has_begun && *size > 0 {
            source.has_begun = true;
            if bytes_at(piece, *size).first() == Some(&BYTECODE_MARK) {
                push_bytes(lua, b" ");
                ffi::lua_insert(lua, -2);
                ffi::lua_concat(lua, 2);
            }
        }
        ffi::lua_replace(lua, 3);
        ffi::lua_tolstring(lua, 3, size)
    }
}

/// Compiles `text`; its function, or else the error, is pushed. Lua's status is answered.
pub(super) unsafe fn compile(lua: *mut lua_State, text: &[u8], name: *const c_char) -> c_int {
    let mut source = Source { text: text.as_ptr().cast(), len: text.len(), asks: false, has_begun: false };
    unsafe {
        // The parser does not keep its copy of the name from being collected while it reads.
        ffi::luaL_checkstack(lua, 2, c"too many nested functions".as_ptr());
        ffi::lua_pushstring_(lua, name);
        let status = ffi::lua_load(lua, read_source, (&raw mut source).cast(), name);
        ffi::lua_remove(lua, -2);
        status
    }
}

/// What `load` and `loadstring` answer.
unsafe fn loaded(lua: *mut lua_State, status: c_int) -> c_int {
    unsafe {
        if is_stopped() {
            raise_stop(lua);
        }
        if status == 0 {
            return 1;
        }
        ffi::lua_pushnil(lua);
        ffi::lua_insert(lua, -2);
        2
    }
}

unsafe extern "C-unwind" fn load_string(lua: *mut lua_State) -> c_int {
    unsafe {
        let mut len = 0;
        let text = ffi::luaL_checklstring(lua, 1, &raw mut len);
        let name = ffi::luaL_optlstring(lua, 2, text, ptr::null_mut());
        let status = compile(lua, bytes_at(text, len), name);
        loaded(lua, status)
    }
}

unsafe extern "C-unwind" fn load(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_optlstring(lua, 2, c"".as_ptr(), ptr::null_mut());
        ffi::luaL_checktype(lua, 1, ffi::LUA_TFUNCTION);
        // Slot 3 keeps the piece being read, slot 2 the name, of which the parser does not take care.
        ffi::lua_settop(lua, 3);
        if ffi::lua_type(lua, 2) == ffi::LUA_TNIL {
            push_bytes(lua, b"=(load)");
            ffi::lua_replace(lua, 2);
        }
        let name = ffi::lua_tolstring(lua, 2, ptr::null_mut());
        let mut source = Source { text: ptr::null(), len: 0, asks: true, has_begun: false };
        let status = ffi::lua_load(lua, read_source, (&raw mut source).cast(), name);
        loaded(lua, status)
    }
}

/// `collectgarbage`, whose settings would outlive the script and are therefore not obeyed.
pub(super) unsafe extern "C-unwind" fn collect_garbage(lua: *mut lua_State) -> c_int {
    /// What Lua's two settings are unless changed, in percent.
    const SETTING_PERCENT: f64 = 200.0;
    unsafe {
        let answer = match string_at(lua, 1) {
            Some(b"stop" | b"restart") => 0.0,
            Some(b"setpause" | b"setstepmul") => SETTING_PERCENT,
            _ => {
                let run = current();
                if !run.is_null() && ((*run).stop.is_some() || !(*run).tick()) {
                    raise_stop(lua);
                }
                return original(lua)(lua);
            }
        };
        ffi::lua_pushnumber(lua, answer);
        1
    }
}

/// `unpack`, which counts its results in 64 bits: Lua's own count goes round, and then it writes past its stack.
pub(super) unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        let bound = |index, default| ffi::luaL_optinteger(lua, index, default) as c_int;
        let first = i64::from(bound(2, 1));
        let last = i64::from(bound(3, ffi::lua_rawlen(lua, 1) as ffi::lua_Integer));
        if last - first >= i64::from(c_int::MAX) {
            raise_at_caller(lua, b"too many results to unpack");
        }
        original(lua)(lua)
    }
}

/// `string.rep`, which does not count to two thousand millions to repeat nothing.
pub(super) unsafe extern "C-unwind" fn repeat_string(lua: *mut lua_State) -> c_int {
    unsafe {
        if string_at(lua, 1).is_some_and(<[u8]>::is_empty) && ffi::lua_isnumber(lua, 2) != 0 {
            push_bytes(lua, b"");
            return 1;
        }
        original(lua)(lua)
    }
}
