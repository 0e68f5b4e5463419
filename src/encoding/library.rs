//! Libraries of functions, a row of the `system` family each: what FUNCTION LOAD was given, and what it registered.
//!
//! ```text
//! | 'l' | library name |  ->  | functions varint | function ... | code |
//! function                  | name len varint | name | flags 1 | described 1 | [description len varint | description] |
//! flags                     bit 0 no-writes, 1 allow-oom, 2 allow-stale, 3 no-cluster, 4 allow-cross-slot-keys
//! ```
//!
//! What was registered is kept beside the code, so that a start need not run any code to know it.

use super::Damaged;
use super::packed::{read_varint, write_varint};
use super::row::RowKey;

/// The first byte of library rows.
pub const LIBRARY_PREFIX: &[u8] = b"l";

/// A function as its library registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name; no other library has a function of this name.
    pub name: Box<[u8]>,
    /// What it is for.
    pub description: Option<Box<[u8]>>,
    /// What it has declared, one bit each.
    pub flags: u8,
}

/// A library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: Box<[u8]>,
    /// The text given to FUNCTION LOAD, its first line included.
    pub code: Box<[u8]>,
    /// Its functions, as they were registered.
    pub functions: Vec<Function>,
}

/// The row of a library.
pub fn library_row(name: &[u8]) -> RowKey {
    let mut row = RowKey::from_slice(LIBRARY_PREFIX);
    row.extend_from_slice(name);
    row
}

impl Library {
    /// The row value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.code.len() + 32 * self.functions.len() + 1);
        write_varint(&mut out, self.functions.len() as u64);
        for function in &self.functions {
            write_bytes(&mut out, &function.name);
            out.push(function.flags);
            out.push(u8::from(function.description.is_some()));
            if let Some(description) = &function.description {
                write_bytes(&mut out, description);
            }
        }
        out.extend_from_slice(&self.code);
        out
    }

    /// Reads a library's row.
    pub fn decode(row: &[u8], value: &[u8]) -> Result<Library, Damaged> {
        let name = row.strip_prefix(LIBRARY_PREFIX).ok_or(Damaged("no library row"))?;
        let (count, mut rest) = read_varint(value)?;
        let mut functions = Vec::new();
        for _ in 0..count {
            let (name, behind) = read_bytes(rest)?;
            let [flags, described, behind @ ..] = behind else { return Err(Damaged("function cut short")) };
            let (description, behind) = match described {
                0 => (None, behind),
                _ => {
                    let (text, behind) = read_bytes(behind)?;
                    (Some(text.into()), behind)
                }
            };
            functions.push(Function { name: name.into(), description, flags: *flags });
            rest = behind;
        }
        Ok(Library { name: name.into(), code: rest.into(), functions })
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn read_bytes(bytes: &[u8]) -> Result<(&[u8], &[u8]), Damaged> {
    let (len, rest) = read_varint(bytes)?;
    let len = usize::try_from(len).map_err(|_| Damaged("library cut short"))?;
    rest.split_at_checked(len).ok_or(Damaged("library cut short"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> Library {
        let function = |name: &[u8], description: Option<&[u8]>, flags| Function {
            name: name.into(),
            description: description.map(Into::into),
            flags,
        };
        let functions = vec![function(b"f", None, 0), function(b"go", Some(b"goes"), 3)];
        Library { name: (*b"lib").into(), code: (*b"#!lua name=lib\n").into(), functions }
    }

    #[test]
    fn a_library_row_is_its_functions_then_its_code() {
        let library = library();
        assert_eq!(&library_row(b"lib")[..], b"llib");
        assert_eq!(library.encode(), b"\x02\x01f\0\0\x02go\x03\x01\x04goes#!lua name=lib\n");
        assert_eq!(Library::decode(b"llib", &library.encode()), Ok(library));
    }

    #[test]
    fn a_library_cut_short_is_refused() {
        let value = library().encode();
        let functions_len = value.len() - library().code.len();
        for len in 0..functions_len {
            assert!(Library::decode(b"llib", &value[..len]).is_err(), "{len}");
        }
        assert!(Library::decode(b"x", &value).is_err());
        assert!(Library::decode(b"l", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
    }
}
