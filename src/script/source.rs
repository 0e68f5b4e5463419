//! The text of a script, its name (SHA-1) and the flags on its first line.
//!
//! A first line `#!lua flags=no-writes,allow-oom` says what the script may do. It is cut off before compiling, its line end
//! stays, so that the line numbers in errors are those the author sees.

use crate::base::words::split_words;
use std::fmt;

use sha1::{Digest, Sha1};

/// What each byte is worth as a hexadecimal digit.
static HEX_VALUES: [u8; 256] = hex_values();
/// What is none is worth this, which together with a digit's worth stays the same.
const NO_HEX: u8 = u8::MAX;

const fn hex_values() -> [u8; 256] {
    let mut values = [NO_HEX; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value];
        values[digit as usize] = value as u8;
        values[digit.to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
}

/// The SHA-1 of a script's text: its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha(pub [u8; 20]);

impl Sha {
    /// How many digits its text has.
    pub const HEX_LEN: usize = 40;

    /// The name of `text`.
    pub fn of(text: &[u8]) -> Sha {
        Sha(Sha1::digest(text).into())
    }

    /// Reads 40 hexadecimal digits, of either case.
    pub fn parse(hex: &[u8]) -> Option<Sha> {
        let hex: &[u8; Sha::HEX_LEN] = hex.try_into().ok()?;
        let (pairs, _) = hex.as_chunks::<2>();
        let mut bytes = [0; 20];
        let mut all = 0;
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (HEX_VALUES[usize::from(*high)], HEX_VALUES[usize::from(*low)]);
            all |= high | low;
            *byte = high << 4 | low;
        }
        (all != NO_HEX).then_some(Sha(bytes))
    }

    /// The 40 digits, in lower case.
    pub fn hex(&self) -> [u8; Sha::HEX_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; Sha::HEX_LEN];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hex().iter().try_for_each(|&digit| write!(f, "{}", char::from(digit)))
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a script or a function has declared about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// It writes nothing.
    pub const NO_WRITES: Flags = Flags(1);
    /// It may run when memory is short.
    pub const ALLOW_OOM: Flags = Flags(2);
    /// It may run on a replica that has lost its primary.
    pub const ALLOW_STALE: Flags = Flags(4);
    /// It must not run in cluster mode.
    pub const NO_CLUSTER: Flags = Flags(8);
    /// Its keys may lie in several slots.
    pub const ALLOW_CROSS_SLOT_KEYS: Flags = Flags(16);

    /// All flags and their names, in the order Redis lists them.
    pub const NAMES: [(Flags, &str); 5] = [
        (Flags::NO_WRITES, "no-writes"),
        (Flags::ALLOW_OOM, "allow-oom"),
        (Flags::ALLOW_STALE, "allow-stale"),
        (Flags::NO_CLUSTER, "no-cluster"),
        (Flags::ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
    ];

    /// The flag of this name.
    pub fn named(name: &[u8]) -> Option<Flags> {
        Flags::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| *flag)
    }

    /// The flags of these bits, as [`Flags::bits`] gave them.
    pub fn from_bits(bits: u8) -> Flags {
        Flags(bits)
    }

    /// One bit for each flag; they are on disk.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Both together.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Flags::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// A script: its text and what is known of it without compiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    text: Box<[u8]>,
    sha: Sha,
    flags: Flags,
    /// Where the Lua text begins; 0 if there is no `#!` line.
    body_start: usize,
}

impl Script {
    /// Reads the first line of `text`. The error is the client's, with its code.
    pub fn parse(text: &[u8]) -> Result<Script, Vec<u8>> {
        Script::named(text, Sha::of(text))
    }

    /// Same, for a text whose name is known.
    pub fn named(text: &[u8], sha: Sha) -> Result<Script, Vec<u8>> {
        let (flags, body_start) =
            if text.starts_with(b"#!") { first_line(text)? } else { (Flags::default(), 0) };
        Ok(Script { text: text.into(), sha, flags, body_start })
    }

    /// The whole text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The Lua text.
    pub fn body(&self) -> &[u8] {
        &self.text[self.body_start..]
    }

    /// Its name.
    pub fn sha(&self) -> Sha {
        self.sha
    }

    /// What it declares; nothing without a first line.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether it has a `#!` line. One without is from before flags: it may write, refuses to when
    /// memory is short as soon as it tries, and its keys may lie in several slots.
    pub fn declares_flags(&self) -> bool {
        self.body_start > 0
    }
}

/// Flags of a `#!lua flags=...` line, and its length.
fn first_line(text: &[u8]) -> Result<(Flags, usize), Vec<u8>> {
    let Some(end) = text.iter().position(|&b| b == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let error = |what: &str, word: &[u8]| Err([b"ERR ", what.as_bytes(), b": ", word].concat());
    let words = split_words(&text[..end]).unwrap_or_default();
    let [engine, words @ ..] = words.as_slice() else {
        return Err(b"ERR Invalid engine in script shebang".to_vec());
    };
    if engine != b"#!lua" {
        return error("Unexpected engine in script shebang", engine);
    }
    let mut flags = Flags::default();
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return error("Unknown lua shebang option", word);
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            match Flags::named(name) {
                Some(flag) => flags = flags.with(flag),
                None => return error("Unexpected flag in script shebang", name),
            }
        }
    }
    Ok((flags, end))
}

#[cfg(test)]
mod tests {
    use super::{Flags, Script, Sha};

    #[test]
    fn a_script_is_named_by_its_sha1() {
        let sha = Sha::of(b"return 1");
        assert_eq!(sha.to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(b"E0E1F9fabfc9d4800c877a703b823ac0578ff8db"), Some(sha));
        assert_eq!(Sha::parse(b"e0e1"), None);
        assert_eq!(Sha::parse(&[b'g'; 40]), None);
        assert_eq!(Sha::parse(&[0xC3; 40]), None);
        for place in 0..40 {
            let mut hex = sha.hex();
            hex[place] = b'g';
            assert_eq!(Sha::parse(&hex), None);
        }
    }

    #[test]
    fn flags_are_read_from_the_first_line() {
        let flags =
            |text: &str| Script::parse(text.as_bytes()).map(|s| s.flags().names().collect::<Vec<_>>());
        assert_eq!(flags("return 1"), Ok(vec![]));
        assert_eq!(flags("#!lua \nreturn 1"), Ok(vec![]));
        assert_eq!(flags("#!lua flags=\nreturn 1"), Ok(vec![]));
        assert_eq!(flags("#!lua  flags=allow-oom,no-writes \nreturn 1"), Ok(vec!["no-writes", "allow-oom"]));
        let error = |text: &str| String::from_utf8(Script::parse(text.as_bytes()).unwrap_err()).unwrap();
        assert_eq!(error("#!lua"), "ERR Invalid script shebang");
        assert_eq!(error("#!\n"), "ERR Unexpected engine in script shebang: #!");
        assert_eq!(error("#!luaX\n"), "ERR Unexpected engine in script shebang: #!luaX");
        assert_eq!(flags("#!\"lua\" 'flags=no-writes'\nreturn 1"), Ok(vec!["no-writes"]));
        assert_eq!(error("#!lua \"flags=\n"), "ERR Invalid engine in script shebang");
        assert_eq!(error("#!lua name=x\n"), "ERR Unknown lua shebang option: name=x");
        assert_eq!(error("#!lua flags=bad\n"), "ERR Unexpected flag in script shebang: bad");
        assert_eq!(error("#!lua flags=,no-writes,\n"), "ERR Unexpected flag in script shebang: ");
    }

    #[test]
    fn the_first_line_is_cut_off_but_its_line_end_stays() {
        let script = Script::parse(b"#!lua flags=no-writes\nreturn 1").unwrap();
        assert_eq!(script.body(), b"\nreturn 1");
        assert!(script.declares_flags() && script.flags().has(Flags::NO_WRITES));
        assert!(!Script::parse(b"return 1").unwrap().declares_flags());
    }
}
