//! Where settings come from: lines of files, of standard input, and words of the command line.
//!
//! A line is split into words as redis-cli splits them: blanks separate, double quotes know escapes, single quotes only `\'`,
//! and a closing quote must be followed by a blank. The command line becomes lines too: `--name` begins one, the words after
//! it are its values. Files are read whole, up to a bound; `include` is followed by `load`, which bounds depth and number.

use super::value::quote;
use crate::base::glob::glob_match;
use crate::base::words;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file longer than this is surely no configuration.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One line that says something.
#[derive(Clone, Debug)]
pub struct Line {
    /// From one, in its source.
    pub number: usize,
    /// The line without the blanks around it.
    pub text: String,
}

/// What lines were read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The command line.
    Options,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "the configuration file '{}'", path.display()),
            Source::Stdin => f.write_str("the configuration on standard input"),
            Source::Options => f.write_str("the command line"),
        }
    }
}

/// What the words after `tuff server` are.
#[derive(Debug, Default)]
pub struct Arguments {
    /// The file.
    pub file: Option<PathBuf>,
    /// `-` was the first or the last word: standard input is read too.
    pub stdin: bool,
    /// A line for each option.
    pub options: Vec<Line>,
}

/// Sorts out the words of the command line.
pub fn read_arguments(words: &[String]) -> Arguments {
    let mut arguments = Arguments::default();
    let mut texts: Vec<String> = Vec::new();
    let mut index = 0;
    if let Some(first) = words.first().filter(|first| !first.starts_with('-')) {
        arguments.file = Some(first.into());
        index = 1;
    }
    // Right after the name of an option a word is its value, even with `--` before it.
    let mut needs_value = false;
    while index < words.len() {
        let word = &words[index];
        let next_is_option = words.get(index + 1).is_none_or(|next| next.starts_with("--"));
        match word.strip_prefix("--") {
            _ if word == "-" && (index == 0 || index + 1 == words.len()) => arguments.stdin = true,
            Some(name) if !needs_value => {
                // `--save` alone has always meant `--save ""`.
                let is_empty_save = word.eq_ignore_ascii_case("--save") && next_is_option;
                let name = name.trim_matches(' ');
                texts.push(if is_empty_save { format!("{name} \"\"") } else { name.to_owned() });
                needs_value = !is_empty_save && !name.contains(' ');
            }
            _ => {
                needs_value = false;
                match texts.last_mut() {
                    Some(line) => {
                        line.push(' ');
                        line.push_str(&quote(word));
                    }
                    None => texts.push(quote(word)),
                }
            }
        }
        index += 1;
    }
    arguments.options =
        texts.into_iter().enumerate().map(|(at, text)| Line { number: at + 1, text }).collect();
    arguments
}

/// The lines that say something.
pub fn lines_of(text: &str) -> Vec<Line> {
    let lines = text.split('\n').enumerate();
    lines
        .map(|(at, text)| Line { number: at + 1, text: text.trim_matches([' ', '\t', '\r']).to_owned() })
        .filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
        .collect()
}

/// Reads a source whole. In comments any bytes may stand: those that are no text are replaced.
pub fn read_whole(input: &mut dyn Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    match lines_of(&text).iter().find(|line| line.text.contains(char::REPLACEMENT_CHARACTER)) {
        None => Ok(text),
        Some(line) => Err(io::Error::other(format!("line {} is not valid UTF-8", line.number))),
    }
}

/// The words of a line; nothing if its quotes do not match, or a word is not UTF-8.
pub fn split_words(line: &str) -> Option<Vec<String>> {
    let words = words::split_words(line.as_bytes()).ok()?;
    words.into_iter().map(|word| String::from_utf8(word).ok()).collect()
}

/// The files that the path of an `include` names, sorted. A path without wildcards is answered whether it is there or not.
pub fn expand(pattern: &str) -> Vec<PathBuf> {
    if !is_wild(pattern) {
        return vec![pattern.into()];
    }
    let mut found = vec![PathBuf::new()];
    for component in Path::new(pattern).components() {
        let name = component.as_os_str().to_string_lossy();
        if !is_wild(&name) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        found = found.iter().flat_map(|folder| matches_in(folder, &name)).collect();
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn matches_in(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let is_hidden = name.starts_with(b".") && !pattern.starts_with('.');
            !is_hidden && glob_match(pattern.as_bytes(), name, false)
        })
        .map(|entry| folder.join(entry.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split_words(line)
    }

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        let cases: [(&str, &[&str]); 6] = [
            ("a  b\tc", &["a", "b", "c"]),
            (r#"a "b c" 'd e'"#, &["a", "b c", "d e"]),
            (r#""\x41\n\"\\" '\'\n'"#, &["A\n\"\\", "'\\n"]),
            (r#"a """#, &["a", ""]),
            ("", &[]),
            ("a # b", &["a", "#", "b"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for bad in [r#"a "b"#, "a 'b", r#""a"b"#, "'a'b", r#""\xff""#] {
            assert_eq!(words(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_quoted_text_reads_back() {
        for text in ["", "a b", "\"'\\", "\u{1}\n\r\t\u{7f}", "grün"] {
            assert_eq!(words(&quote(text)).unwrap(), [text], "{text:?}");
        }
    }

    #[test]
    fn the_command_line_becomes_lines() {
        let cases: [(&[&str], &[&str]); 10] = [
            (&["--port", "1", "--bind", "a", "-::1"], &[r#"port "1""#, r#"bind "a" "-::1""#]),
            (&["--port 1"], &["port 1"]),
            (&["--requirepass", "--x", "--port", "2"], &[r#"requirepass "--x""#, r#"port "2""#]),
            (&["--save", "--port", "2"], &[r#"save """#, r#"port "2""#]),
            (&["--save"], &[r#"save """#]),
            (&["--save", ""], &[r#"save """#]),
            (&["--requirepass", "a\"b"], &[r#"requirepass "a\"b""#]),
            (&["--maxmemory"], &["maxmemory"]),
            (&["-x"], &[r#""-x""#]),
            (&["--port=0"], &["port=0"]),
        ];
        for (given, expected) in cases {
            let given: Vec<String> = given.iter().map(|word| word.to_string()).collect();
            let options = read_arguments(&given).options;
            assert_eq!(options.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_first_word_may_be_a_file_and_a_dash_at_either_end_is_standard_input() {
        let arguments =
            |words: &[&str]| read_arguments(&words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        let both = arguments(&["x.conf", "--port", "1", "-"]);
        assert_eq!((both.file, both.stdin, both.options.len()), (Some("x.conf".into()), true, 1));
        assert!(arguments(&["-", "--port", "1"]).stdin);
        let middle = arguments(&["x.conf", "-", "--port", "1"]);
        assert!(!middle.stdin);
        assert_eq!(middle.options[0].text, "\"-\"");
    }

    #[test]
    fn wildcards_find_files_in_order_and_may_find_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".c.conf", "d.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let pattern = folder.path().join("*.conf");
        let found = expand(pattern.to_str().unwrap());
        assert_eq!(found, ["a.conf", "b.conf"].map(|name| folder.path().join(name)));
        assert!(expand(folder.path().join("no*").to_str().unwrap()).is_empty());
        assert_eq!(expand("plain"), [Path::new("plain")]);
    }
}
