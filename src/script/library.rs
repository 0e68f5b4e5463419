//! The text of a library of functions: its first line, `#!lua name=...`, and the names that may be given.

use crate::base::words::split_words;
use crate::script::vm::until_zero;

/// What is said of a name that may not be given, to a library or to a function.
pub(super) const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                                   character long";

/// Whether a library or a function may have this name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What the first line of a library says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The library's name.
    pub name: Box<[u8]>,
    /// Where the Lua text begins: at the end of the line, which stays for the line numbers' sake.
    pub body_start: usize,
}

impl Shebang {
    /// Reads the first line of a library's text. The error is the client's, with its code.
    pub fn parse(text: &[u8]) -> Result<Shebang, Vec<u8>> {
        if !text.starts_with(b"#!") {
            return Err(b"ERR Missing library metadata".to_vec());
        }
        let invalid = || b"ERR Invalid library metadata".to_vec();
        let end = until_zero(text).iter().position(|&byte| byte == b'\n').ok_or_else(invalid)?;
        let words = split_words(&text[..end]).ok_or_else(invalid)?;
        let (first, options) = words.split_first().ok_or_else(invalid)?;
        let mut name = None;
        for option in options {
            if !option.get(..5).is_some_and(|key| key.eq_ignore_ascii_case(b"name=")) {
                return Err([b"ERR Invalid metadata value given: ", until_zero(option)].concat());
            }
            if name.replace(&option[5..]).is_some() {
                let text = b"ERR Invalid metadata value, name argument was given multiple times";
                return Err(text.to_vec());
            }
        }
        let Some(name) = name else { return Err(b"ERR Library name was not given".to_vec()) };
        if !is_name(name) {
            return Err(format!("ERR {BAD_NAME}").into_bytes());
        }
        let engine = first.get(2..).unwrap_or_default();
        if !engine.eq_ignore_ascii_case(b"lua") {
            return Err([b"ERR Engine '", engine, b"' not found"].concat());
        }
        Ok(Shebang { name: name.into(), body_start: end })
    }
}

#[cfg(test)]
mod tests {
    use super::Shebang;

    #[test]
    fn the_first_line_names_engine_and_library() {
        let parse = |text: &str| {
            Shebang::parse(text.as_bytes())
                .map(|line| (String::from_utf8(line.name.into()).unwrap(), line.body_start))
                .map_err(|error| String::from_utf8(error).unwrap())
        };
        assert_eq!(parse("#!lua name=lib\ncode"), Ok(("lib".to_owned(), 14)));
        assert_eq!(parse("#!LUA  \"NAME=Lib_2\" \n"), Ok(("Lib_2".to_owned(), 20)));
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("x"), "ERR Missing library metadata");
        assert_eq!(error("#!lua name=x"), "ERR Invalid library metadata");
        assert_eq!(error("#!lua name=x\0\n"), "ERR Invalid library metadata");
        assert_eq!(error("#!lua name=\"x\n"), "ERR Invalid library metadata");
        assert_eq!(error("#!\n"), "ERR Library name was not given");
        assert_eq!(error("#!lua na\n"), "ERR Invalid metadata value given: na");
        assert_eq!(
            error("#!lua name=a name=b\n"),
            "ERR Invalid metadata value, name argument was given multiple times"
        );
        assert!(error("#!js name=a-b\n").starts_with("ERR Library names can only contain"));
        assert_eq!(error("#!js name=a\n"), "ERR Engine 'js' not found");
    }
}
