//! The architecture as a test: which folder of src/ may import which, and a few rules that a reader can rely on.
//!
//! A folder imports lower ones only, and only those that `LAYERS` lists. The scan reads text: `crate::<folder>` anywhere in code
//! counts, so `use crate::{..}`, which would hide it, is refused. RocksDB is named in src/store alone, and `unsafe` only in a file
//! whose first lines allow it openly.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders, lowest first, each with those it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("config", &["base"]),
    ("metrics", &["base", "config"]),
    ("resp", &["base"]),
    ("load", &["base", "resp"]),
    ("script", &["base", "resp"]),
    ("encoding", &["base"]),
    ("store", &["base", "config", "metrics", "encoding"]),
    ("hot", &["base", "config", "metrics", "encoding"]),
    ("waiters", &["base", "config", "metrics", "encoding"]),
    ("pubsub", &["base", "config", "metrics", "resp"]),
    ("keyspace", &["base", "config", "metrics", "encoding", "store", "hot", "waiters"]),
    ("types", &["base", "config", "encoding", "keyspace"]),
    ("session", &["base", "config", "metrics", "resp", "encoding", "pubsub", "keyspace"]),
    (
        "dispatch",
        &[
            "base", "config", "metrics", "resp", "encoding", "store", "waiters", "pubsub", "keyspace",
            "types", "session", "script",
        ],
    ),
    (
        "commands",
        &[
            "base", "config", "metrics", "resp", "encoding", "hot", "waiters", "pubsub", "keyspace", "types",
            "session", "dispatch", "script",
        ],
    ),
    (
        "server",
        &[
            "base", "config", "metrics", "resp", "encoding", "store", "hot", "waiters", "pubsub", "keyspace",
            "types", "session", "dispatch", "commands",
        ],
    ),
];

/// How a file says that it has unsafe code.
const UNSAFE_MARK: &str = "#![allow(unsafe_code";
/// The mark stands within the first lines, behind the file's head.
const UNSAFE_MARK_LINE_MAX: usize = 25;
/// A file longer than this wants thinking again.
const FILE_LINES_MAX: usize = 800;

/// One source file: its path from src/ and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The folder right under src/; nothing for src/main.rs and src/lib.rs.
    fn folder(&self) -> Option<&str> {
        self.path.split_once('/').map(|(folder, _)| folder)
    }

    /// The lines that are not comments, with their numbers. What stands behind `//` in a line is left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_start()));
        lines
            .filter(|(_, line)| !line.starts_with("//"))
            .map(|(i, line)| (i, line.split(" // ").next().unwrap_or(line)))
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source {
                    path: path.strip_prefix(root).unwrap().to_string_lossy().into_owned(),
                    text,
                });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found
}

/// The first parts of all `crate::` paths in a line.
fn crate_paths(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (i, _) in line.match_indices("crate::") {
        // `$crate::` is a path too; `my_crate::` is not.
        if line[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &line[i + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        found.push(if end == 0 { rest } else { &rest[..end] });
    }
    found
}

/// The rules a file breaks, in words.
fn broken_rules(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    let mut report = |line: usize, what: String| broken.push(format!("src/{}:{line}: {what}", source.path));
    let allowed: Option<&[&str]> = match source.folder() {
        None => None,
        Some(folder) => match LAYERS.iter().find(|(name, _)| *name == folder) {
            Some((_, allowed)) => Some(allowed),
            None => {
                report(1, format!("the folder {folder} is not in LAYERS"));
                return broken;
            }
        },
    };
    let head: Vec<&str> = source.text.lines().take(UNSAFE_MARK_LINE_MAX).collect();
    // With a reason it may stand in several lines.
    let marks = [UNSAFE_MARK, "unsafe_code,"];
    let may_be_unsafe = head.iter().any(|line| marks.iter().any(|mark| line.trim_start().starts_with(mark)));
    for (number, line) in source.code() {
        for name in crate_paths(line) {
            if name.starts_with('{') {
                report(number, "`use crate::{..}` hides what is imported; one `use` a folder".to_string());
            } else if let (Some(allowed), Some(folder)) = (allowed, source.folder()) {
                let is_layer = LAYERS.iter().any(|(layer, _)| *layer == name);
                if is_layer && name != folder && !allowed.contains(&name) {
                    report(number, format!("{folder} may not import {name}"));
                }
            }
        }
        let says = |word: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == word);
        if says("rocksdb") && source.folder() != Some("store") {
            report(number, "only src/store names rocksdb".to_string());
        }
        if says("unsafe") && !may_be_unsafe {
            report(number, format!("`unsafe` in a file that does not begin with `{UNSAFE_MARK})]`"));
        }
    }
    let lines = source.text.lines().count();
    if lines > 0 && !source.text.starts_with("//!") && !source.text.starts_with(UNSAFE_MARK) {
        report(1, "a file opens with a `//!` head that says what it is for".to_string());
    }
    if lines > FILE_LINES_MAX {
        report(lines, format!("a file of more than {FILE_LINES_MAX} lines"));
    }
    broken
}

#[test]
fn folders_import_only_what_the_table_allows() {
    let broken: Vec<String> = sources().iter().flat_map(broken_rules).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_table_has_no_cycles() {
    for (i, (folder, allowed)) in LAYERS.iter().enumerate() {
        for import in *allowed {
            let lower = LAYERS[..i].iter().any(|(name, _)| name == import);
            assert!(lower, "{folder} imports {import}, which is not below it");
        }
    }
}

#[test]
fn each_broken_rule_is_seen() {
    let check = |path: &str, text: &str| {
        broken_rules(&Source { path: path.to_string(), text: format!("//! Head.\n{text}\n") }).len()
    };
    assert_eq!(check("hot/a.rs", "use crate::base::clock;\nuse crate::hot::b;\n// use crate::server::x;"), 0);
    assert_eq!(check("hot/a.rs", "use crate::store::Store;"), 1);
    assert_eq!(check("hot/a.rs", "fn f() { pub_crate::server::g(); crate::server::g() }"), 1);
    assert_eq!(check("hot/a.rs", "use crate::{base, store};"), 1);
    assert_eq!(check("hot/a.rs", "use rocksdb::DB;"), 1);
    assert_eq!(check("store/a.rs", "use rocksdb::DB;"), 0);
    assert_eq!(check("base/a.rs", "unsafe { f() }"), 1);
    assert_eq!(check("base/a.rs", "#![allow(unsafe_code)]\nunsafe { f() }"), 0);
    assert_eq!(check("new/a.rs", ""), 1);
    assert_eq!(check("main.rs", "use crate::server::run;"), 0);
    let bare = Source { path: "base/a.rs".to_string(), text: "fn f() {}\n".to_string() };
    assert_eq!(broken_rules(&bare).len(), 1);
}
