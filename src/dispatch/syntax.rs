//! The notation in which a command's arguments are written down, and its parser.
//!
//! One line per command, close to what manuals show; `COMMAND DOCS` is made from it. Grammar:
//!
//! ```text
//! syntax   = item item ..                   in order
//! item     = argument | [argument]          brackets: optional
//! argument = NAME                           a bare word the client types; documented in lower case
//!          | name='word'                    a bare word documented under another name
//!          | NAME argument                  an argument with a word before it
//!          | NAME... argument...            the same, and the word is repeated too
//!          | name body marks
//! body     = (nothing)                      a string
//!          | :int :double :pattern :time    of that type
//!          | /shown                         shown to people under another name (before the type)
//!          | <item | item ..>               one of these
//!          | (item item ..)                 these together
//! marks    = @n      it is a key, found by key spec n (with a :type, the type stays)
//!          | ...     may be repeated
//!          | ^1.2.3  since that version
//!          | !1.2.3  deprecated since that version
//! ```
//!
//! Words with other characters than letters, digits, `-`, `_` stand in single quotes. A word in capitals takes the
//! argument after it for its own, so a bare word before another argument is written `name='WORD'`. Example (SET):
//! `key@0 value [condition<NX | XX>^2.6.12] [expiration<EX seconds:int | KEEPTTL^6.0.0>]`.
//!
//! [`check`] runs while the crate compiles and finds bad brackets and key numbers; the whole is tested over the table.

use std::fmt;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Double,
    /// A key's name.
    Key,
    /// A glob.
    Pattern,
    /// Seconds or milliseconds since 1970.
    UnixTime,
    /// The word itself.
    PureToken,
    /// One of [`Argument::arguments`].
    OneOf,
    /// All of [`Argument::arguments`].
    Block,
}

impl Kind {
    /// As `COMMAND DOCS` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }
}

/// One documented argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// The name shown to people; OneOf and Block have none.
    pub display: Option<String>,
    /// The key spec that finds it.
    pub key_spec: Option<u8>,
    /// The word the client types before it, or, of a bare word, instead of it.
    pub token: Option<String>,
    /// The version that brought it.
    pub since: Option<&'static str>,
    /// The version that deprecated it.
    pub deprecated_since: Option<&'static str>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// Its token is repeated with it.
    pub multiple_token: bool,
    /// Of OneOf and Block.
    pub arguments: Vec<Argument>,
}

/// What is wrong with a syntax, at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// What was missing.
    pub expected: &'static str,
}

/// Parses a command's syntax.
///
/// # Errors
/// The text is not in the notation above.
pub fn parse(text: &'static str) -> Result<Vec<Argument>, SyntaxError> {
    let mut parser = Parser { text, at: 0 };
    let arguments = parser.items()?;
    if parser.at == text.len() { Ok(arguments) } else { Err(parser.error("an argument")) }
}

/// Panics, while compiling, on brackets that do not match and on key specs beyond `key_specs`.
pub(super) const fn check(text: &str, key_specs: usize) {
    let text = text.as_bytes();
    let mut open = [0u8; 16];
    let mut depth = 0;
    let mut quoted = false;
    let mut i = 0;
    while i < text.len() {
        let c = text[i];
        if c == b'\'' {
            quoted = !quoted;
        } else if !quoted {
            let closes = match c {
                b'[' => b']',
                b'<' => b'>',
                b'(' => b')',
                _ => 0,
            };
            if closes != 0 {
                open[depth] = closes;
                depth += 1;
            }
            if c == b']' || c == b'>' || c == b')' {
                assert!(depth > 0 && open[depth - 1] == c, "a bracket of the syntax was never opened");
                depth -= 1;
            }
            if c == b'@' {
                assert!(
                    i + 1 < text.len() && text[i + 1].is_ascii_digit(),
                    "@ needs the number of a key spec"
                );
                assert!(
                    ((text[i + 1] - b'0') as usize) < key_specs,
                    "@ names a key spec the command has not"
                );
            }
        }
        i += 1;
    }
    assert!(depth == 0 && !quoted, "a bracket or quote of the syntax is never closed");
}

struct Parser {
    text: &'static str,
    at: usize,
}

impl Parser {
    fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { at: self.at, expected }
    }

    fn rest(&self) -> &'static str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> u8 {
        self.rest().as_bytes().first().copied().unwrap_or(0)
    }

    fn take(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    fn need(&mut self, what: &'static str) -> Result<(), SyntaxError> {
        if self.take(what) { Ok(()) } else { Err(self.error(what)) }
    }

    fn blanks(&mut self) {
        while self.take(" ") {}
    }

    /// Items up to a closing bracket or the end.
    fn items(&mut self) -> Result<Vec<Argument>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            self.blanks();
            if matches!(self.peek(), 0 | b')' | b']' | b'>' | b'|') {
                return Ok(items);
            }
            items.push(self.item()?);
        }
    }

    fn item(&mut self) -> Result<Argument, SyntaxError> {
        if !self.take("[") {
            return self.argument();
        }
        let mut argument = self.argument()?;
        self.blanks();
        self.need("]")?;
        argument.optional = true;
        Ok(argument)
    }

    fn argument(&mut self) -> Result<Argument, SyntaxError> {
        if !self.peek().is_ascii_uppercase() {
            return self.named();
        }
        let token = self.word()?;
        let dots_end = self.at + if self.rest().starts_with("...") { 3 } else { 0 };
        let next = self.text.get(dots_end..).unwrap_or("");
        if !next.starts_with(' ') || !next.trim_start().starts_with(|c: char| c.is_ascii_lowercase()) {
            let mut argument = empty(token.to_ascii_lowercase(), Kind::PureToken);
            argument.token = Some(token);
            self.marks(&mut argument)?;
            return Ok(argument);
        }
        let repeated = self.take("...");
        self.blanks();
        let mut argument = self.named()?;
        argument.token = Some(token);
        argument.multiple_token = repeated;
        Ok(argument)
    }

    fn named(&mut self) -> Result<Argument, SyntaxError> {
        if !self.peek().is_ascii_lowercase() {
            return Err(self.error("a name"));
        }
        let mut argument = empty(self.word()?, Kind::String);
        if self.take("=") {
            argument.kind = Kind::PureToken;
            argument.token = Some(self.word()?);
        } else if self.take("<") {
            argument.kind = Kind::OneOf;
            argument.arguments = self.choices()?;
        } else if self.take("(") {
            argument.kind = Kind::Block;
            argument.arguments = self.items()?;
            self.need(")")?;
        } else {
            if self.take("/") {
                argument.display = Some(self.word()?);
            }
            if self.take(":") {
                argument.kind = self.kind()?;
            } else if self.peek() == b'@' {
                argument.kind = Kind::Key;
            }
        }
        if matches!(argument.kind, Kind::OneOf | Kind::Block) {
            argument.display = None;
        }
        self.marks(&mut argument)?;
        Ok(argument)
    }

    fn choices(&mut self) -> Result<Vec<Argument>, SyntaxError> {
        let mut choices = Vec::new();
        loop {
            self.blanks();
            choices.push(self.item()?);
            self.blanks();
            if self.take(">") {
                return Ok(choices);
            }
            self.need("|")?;
        }
    }

    fn kind(&mut self) -> Result<Kind, SyntaxError> {
        let kinds = [
            ("int", Kind::Integer),
            ("double", Kind::Double),
            ("pattern", Kind::Pattern),
            ("time", Kind::UnixTime),
        ];
        let word = self.word()?;
        kinds.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind).ok_or(self.error("a type"))
    }

    fn marks(&mut self, argument: &mut Argument) -> Result<(), SyntaxError> {
        loop {
            if self.take("...") {
                argument.multiple = true;
            } else if self.take("@") {
                argument.key_spec = Some(self.peek().wrapping_sub(b'0'));
                self.at += 1;
            } else if self.take("^") {
                argument.since = Some(self.version());
            } else if self.take("!") {
                argument.deprecated_since = Some(self.version());
            } else if matches!(self.peek(), 0 | b' ' | b')' | b']' | b'>') {
                return Ok(());
            } else {
                return Err(self.error("a mark"));
            }
        }
    }

    /// Digits and single dots; stops before `...`.
    fn version(&mut self) -> &'static str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let version = rest.get(..end).unwrap_or("").trim_end_matches("...");
        self.at += version.len();
        version
    }

    fn word(&mut self) -> Result<String, SyntaxError> {
        let quoted = self.take("'");
        let rest = self.rest();
        let is_end =
            |c: char| if quoted { c == '\'' } else { !c.is_ascii_alphanumeric() && c != '-' && c != '_' };
        let end = rest.find(is_end).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("");
        self.at += end;
        if quoted {
            self.need("'")?;
        } else if word.is_empty() {
            return Err(self.error("a word"));
        }
        Ok(word.to_string())
    }
}

impl fmt::Display for Argument {
    /// As a manual shows it: `[LIMIT <offset> <count>]`, `<key> [<key> ...]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_deref().unwrap_or_default();
        let body = match self.kind {
            Kind::PureToken => String::new(),
            Kind::OneOf => join(&self.arguments, "|"),
            Kind::Block => join(&self.arguments, " "),
            _ => format!("<{}>", self.display.as_deref().unwrap_or(&self.name)),
        };
        let gap = if token.is_empty() || body.is_empty() { "" } else { " " };
        let again = match (self.multiple, self.multiple_token) {
            (false, _) => String::new(),
            (true, false) => format!(" [{body} ...]"),
            (true, true) => format!(" [{token} {body} ...]"),
        };
        let (open, close) = if self.optional { ("[", "]") } else { ("", "") };
        write!(f, "{open}{token}{gap}{body}{again}{close}")
    }
}

/// The arguments as a manual shows them, with `between` between them.
pub fn join(arguments: &[Argument], between: &str) -> String {
    arguments.iter().map(Argument::to_string).collect::<Vec<_>>().join(between)
}

fn empty(name: String, kind: Kind) -> Argument {
    Argument {
        display: Some(name.clone()),
        name,
        kind,
        key_spec: None,
        token: None,
        since: None,
        deprecated_since: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        arguments: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &'static str) -> Argument {
        let mut arguments = parse(text).expect("a syntax");
        assert_eq!(arguments.len(), 1, "{text}");
        arguments.remove(0)
    }

    #[test]
    fn a_name_alone_is_a_string_and_marks_say_more() {
        let value = one("value");
        assert_eq!(
            (value.kind, value.display.as_deref(), value.optional),
            (Kind::String, Some("value"), false)
        );
        let key = one("[key@0...^6.2.0]");
        assert_eq!((key.kind, key.key_spec, key.multiple, key.optional), (Kind::Key, Some(0), true, true));
        assert_eq!((key.since, key.deprecated_since), (Some("6.2.0"), None));
        assert_eq!(one("when:time!7.0.0...").deprecated_since, Some("7.0.0"));
        assert_eq!(one("by-pattern/pattern:pattern@1").display.as_deref(), Some("pattern"));
    }

    #[test]
    fn a_capital_word_is_a_token_or_stands_alone() {
        let alone = one("[WITHSCORES]");
        assert_eq!((alone.kind, alone.name.as_str()), (Kind::PureToken, "withscores"));
        let before = one("EX seconds:int");
        assert_eq!((before.kind, before.token.as_deref()), (Kind::Integer, Some("EX")));
        let repeated = one("[GET... pattern...]");
        assert!(repeated.multiple && repeated.multiple_token && repeated.optional);
        let named = one("equal='='");
        assert_eq!((named.kind, named.token.as_deref()), (Kind::PureToken, Some("=")));
        assert_eq!(one("empty='' ").token.as_deref(), Some(""));
    }

    #[test]
    fn choices_and_blocks_nest() {
        let limit = one("[LIMIT limit(offset:int count:int)]");
        assert_eq!((limit.kind, limit.arguments.len(), limit.display), (Kind::Block, 2, None));
        let choice = one("filter<FROM member | lonlat(x:double y:double)...^1.0.0>");
        assert_eq!((choice.kind, choice.arguments[1].kind), (Kind::OneOf, Kind::Block));
        assert!(choice.arguments[1].multiple && choice.arguments[1].since == Some("1.0.0"));
    }

    #[test]
    fn arguments_are_shown_as_in_a_manual() {
        let text = "key@0... [LIMIT limit(offset:int count:int)] [order<ASC | DESC>] [GET... field...] [addr/'ip:port']";
        let shown = "<key> [<key> ...] [LIMIT <offset> <count>] [ASC|DESC] [GET <field> [GET <field> ...]] [<ip:port>]";
        assert_eq!(join(&parse(text).expect("a syntax"), " "), shown);
    }

    #[test]
    fn what_is_not_in_the_notation_is_an_error() {
        for text in ["[a", "a]", "a<b", "a:what", "a?", "=", "a='x", "a|b", "a<|b>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
