//! From the words after `tuff server` to a `Config`: the file, standard input, then the options, later ones winning.
//!
//! Every line goes through `Loader::take`, wherever it was read; `include` comes back to it with the lines of another file, to
//! a bounded depth and number of files. The first wrong line ends the loading and is reported as Redis does. Warnings are
//! made at the end, from the final values: what was set and then set back is not worth one.

use super::directive::{Kind, Line as LineKind, Value};
use super::source::{self, Line, Source};
use super::{Config, REQUIREPASS, TABLE, Warning, find, value};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files that include files: this deep at most.
const INCLUDE_DEPTH_MAX: usize = 16;
/// Files read at most, so that a few that include each other twice come to an end.
const FILES_MAX: usize = 1000;

const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

/// Why there are no settings. It displays as Redis would tell it.
#[derive(Debug)]
pub enum ConfigError {
    /// A file cannot be read.
    Unreadable {
        /// What it is.
        source: String,
        /// Why.
        cause: io::Error,
    },
    /// A line is wrong.
    Line {
        /// Where it is.
        source: String,
        /// Which it is, from one.
        number: usize,
        /// The line.
        text: String,
        /// Why.
        reason: String,
    },
    /// Settings contradict each other.
    Whole(String),
    /// A word of the command line is not UTF-8.
    Word,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = concat!("*** FATAL CONFIG FILE ERROR (Tuff ", env!("CARGO_PKG_VERSION"), ") ***");
        match self {
            ConfigError::Unreadable { source, cause } => {
                write!(f, "Fatal error, can't open config file '{source}': {}", plain(cause))
            }
            ConfigError::Line { source, number, text, reason } => {
                write!(f, "{head}\nReading {source}, at line {number}\n>>> '{text}'\n{reason}")
            }
            ConfigError::Whole(reason) => write!(f, "{head}\n{reason}"),
            ConfigError::Word => write!(f, "{head}\nthe command line is not UTF-8"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The text of an error as C has it, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A `rename-command` line. What commands there are is not known here: see `Config::rename_commands`.
pub(super) struct Renaming {
    /// The name a command has.
    pub old: String,
    /// The name it shall have; empty: none.
    pub new: String,
    source: String,
    number: usize,
    text: String,
}

impl Renaming {
    /// The error of a line that asks for something impossible.
    pub fn refused(&self, reason: &str) -> ConfigError {
        ConfigError::Line {
            source: self.source.clone(),
            number: self.number,
            text: self.text.clone(),
            reason: reason.to_owned(),
        }
    }
}

struct Loader {
    config: Config,
    set: Vec<bool>,
    warnings: Vec<Warning>,
    file_count: usize,
}

impl Config {
    /// Reads the settings. `words` are those after `tuff server`: perhaps a file, then `--name value ...`; `-` as the first or
    /// the last of them means standard input.
    pub fn load<S: AsRef<OsStr>>(words: &[S]) -> Result<(Config, Vec<Warning>), ConfigError> {
        Config::load_with(words, &mut io::stdin().lock())
    }

    /// As `load`, with something else for standard input.
    pub fn load_with<S: AsRef<OsStr>>(
        words: &[S],
        stdin: &mut dyn Read,
    ) -> Result<(Config, Vec<Warning>), ConfigError> {
        let words: Option<Vec<String>> =
            words.iter().map(|word| word.as_ref().to_str().map(str::to_owned)).collect();
        let arguments = source::read_arguments(&words.ok_or(ConfigError::Word)?);
        let mut loader = Loader {
            config: Config::default(),
            set: vec![false; TABLE.len()],
            warnings: Vec::new(),
            file_count: 0,
        };
        if let Some(path) = &arguments.file {
            let path = loader.config.folder.join(path);
            loader.take_file(&path, 0)?;
            loader.config.file = Some(path);
        }
        if arguments.stdin {
            let text = source::read_whole(stdin)
                .map_err(|cause| ConfigError::Unreadable { source: "-".to_owned(), cause })?;
            loader.take_all(&Source::Stdin, &source::lines_of(&text), 0)?;
        }
        loader.take_all(&Source::Options, &arguments.options, 0)?;
        loader.finish()
    }
}

impl Loader {
    fn take_file(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let unreadable =
            |cause: io::Error| ConfigError::Unreadable { source: path.display().to_string(), cause };
        self.file_count += 1;
        if depth > INCLUDE_DEPTH_MAX || self.file_count > FILES_MAX {
            return Err(unreadable(io::Error::other("too many files include each other")));
        }
        let text = File::open(path).and_then(|mut file| source::read_whole(&mut file)).map_err(unreadable)?;
        self.take_all(&Source::File(path.to_owned()), &source::lines_of(&text), depth)
    }

    fn take_all(&mut self, source: &Source, lines: &[Line], depth: usize) -> Result<(), ConfigError> {
        for line in lines {
            let renamed = self.config.renamed.len();
            let included = self.take(&line.text).map_err(|reason| ConfigError::Line {
                source: source.to_string(),
                number: line.number,
                text: line.text.clone(),
                reason: reason.into_owned(),
            })?;
            for renaming in self.config.renamed.iter_mut().skip(renamed) {
                renaming.source = source.to_string();
                renaming.number = line.number;
                renaming.text = line.text.clone();
            }
            for path in included {
                self.take_file(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Takes one line, and answers the files it includes.
    fn take(&mut self, line: &str) -> Result<Vec<PathBuf>, Cow<'static, str>> {
        let words = source::split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let [name, values @ ..] = words.as_slice() else { return Ok(Vec::new()) };
        let (index, _) = find(name).ok_or(BAD_DIRECTIVE)?;
        match TABLE[index].kind {
            Kind::Line(kind) => return self.take_special(kind, values),
            _ => {
                let value = value::read(&TABLE[index], values, &self.config.value(index))?;
                self.config.store(index, value);
                self.set[index] = true;
            }
        }
        Ok(Vec::new())
    }

    fn take_special(&mut self, kind: LineKind, values: &[&str]) -> Result<Vec<PathBuf>, Cow<'static, str>> {
        match (kind, values) {
            (LineKind::Include, [pattern]) => return Ok(source::expand(pattern)),
            (LineKind::RenameCommand, [old, new]) => {
                self.config.renamed.push(Renaming {
                    old: (*old).to_owned(),
                    new: (*new).to_owned(),
                    source: String::new(),
                    number: 0,
                    text: String::new(),
                });
            }
            (LineKind::LoadModule, [path, ..]) => {
                return Err(format!("Can't load module from {path}: there are no modules").into());
            }
            (LineKind::User, ["default", rules @ ..]) => self.take_default_user(rules)?,
            (LineKind::User, [name, ..]) if name.contains(char::is_whitespace) => {
                return Err("Spaces not allowed in ACL usernames".into());
            }
            (LineKind::User, [name, ..]) => {
                self.warn(format!("user {name}: there are no ACL users yet, so nobody can log in as {name}"));
            }
            (LineKind::Sentinel, _) => return Err("sentinel directive while not in sentinel mode".into()),
            (LineKind::Retired, [_]) => {}
            _ => return Err(BAD_DIRECTIVE.into()),
        }
        Ok(Vec::new())
    }

    /// The default user's password is `requirepass`. A rule that forbids something is an error: to ignore it would let in
    /// what the operator wanted out.
    fn take_default_user(&mut self, rules: &[&str]) -> Result<(), Cow<'static, str>> {
        const OPEN: [&str; 10] = [
            "on",
            "~*",
            "allkeys",
            "&*",
            "allchannels",
            "+@all",
            "allcommands",
            "sanitize-payload",
            "skip-sanitize-payload",
            "nopass",
        ];
        let mut passwords = 0;
        for rule in rules {
            if let Some(password) = rule.strip_prefix('>') {
                passwords += 1;
                if passwords > 1 {
                    return Err(
                        "Error in user declaration: the default user can have one password only".into()
                    );
                }
                self.config.store(REQUIREPASS, Value::Text(password.to_owned()));
                self.set[REQUIREPASS] = true;
            } else if !OPEN.contains(rule) {
                return Err(format!(
                    "Error in user declaration '{rule}': the default user can have a >password, and may do everything"
                )
                .into());
            } else if *rule == "nopass" {
                self.config.store(REQUIREPASS, Value::Text(String::new()));
            }
        }
        Ok(())
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(Warning(text));
    }

    fn finish(mut self) -> Result<(Config, Vec<Warning>), ConfigError> {
        let values = |index| self.config.value(index);
        super::runtime::check_together(values).map_err(|reason| ConfigError::Whole(reason.to_owned()))?;
        for index in 0..TABLE.len() {
            if self.set[index] {
                let warning = super::runtime::warning_of(index, &self.config.value(index));
                self.warnings.extend(warning);
            }
        }
        Ok((self.config, self.warnings))
    }
}
