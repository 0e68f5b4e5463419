//! Texts and lists with rules of their own: `save`, `client-output-buffer-limit`, `bind`, event classes and the like.
//!
//! Each function answers the canonical text that CONFIG GET shows, or the reason in Redis' words. Lists get the present text
//! too, because some lines add to it or change a part of it. All are pure.

use crate::base::number::{parse_f64, parse_i64, parse_memory};

/// Any text.
pub fn read_any(text: &str) -> Result<String, &'static str> {
    Ok(text.to_owned())
}

macro_rules! file_name {
    ($name:ident, $reason:literal) => {
        /// A file's name without its folder.
        pub fn $name(text: &str) -> Result<String, &'static str> {
            if text.contains(['/', '\\']) { Err($reason) } else { read_any(text) }
        }
    };
}

file_name!(read_dbfilename, "dbfilename can't be a path, just a filename");
file_name!(read_appendfilename, "appendfilename can't be a path, just a filename");
file_name!(read_appenddirname, "appenddirname can't be a path, just a dirname");

/// A host's name.
pub fn read_hostname(text: &str) -> Result<String, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        read_any(text)
    } else {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
}

/// The data folder: it need not be there yet, but nothing else may be in its place.
pub fn read_dir(text: &str) -> Result<String, &'static str> {
    let path = std::path::Path::new(text);
    if text.is_empty() {
        Err("No such file or directory")
    } else if path.exists() && !path.is_dir() {
        Err("Not a directory")
    } else {
        read_any(text)
    }
}

/// A file with users, which Tuff cannot read: to go on without it could let anybody in.
pub fn read_aclfile(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        read_any(text)
    } else {
        Err("ACL files are not supported; set a password with requirepass")
    }
}

/// Variables of a process title.
pub fn read_title(text: &str) -> Result<String, &'static str> {
    const KNOWN: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    const BAD: &str = "template format is invalid or contains unknown variables";
    if text.is_empty() {
        return Err(BAD);
    }
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (name, after) = rest[start + 1..].split_once('}').ok_or(BAD)?;
        if !KNOWN.contains(&name) {
            return Err(BAD);
        }
        rest = after;
    }
    read_any(text)
}

/// Classes of keyspace events, in the order in which Redis shows them.
pub fn read_events(text: &str) -> Result<String, &'static str> {
    const ALL: &str = "g$lshzxetd";
    if text.chars().any(|class| !"Ag$lshzxeKEtmdnoc".contains(class)) {
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }
    let has = |class: char| text.contains(class) || (text.contains('A') && ALL.contains(class));
    let mut shown = String::new();
    if ALL.chars().all(has) {
        shown.push('A');
    } else {
        shown.extend("g$lshzxetdnoc".chars().filter(|&class| has(class)));
    }
    shown.extend("KEm".chars().filter(|&class| has(class)));
    // Redis does not show them beside A, and so loses them in CONFIG REWRITE.
    if shown.starts_with('A') {
        shown.extend("noc".chars().filter(|&class| has(class)));
    }
    Ok(shown)
}

/// `save`: pairs of seconds and changes; none at all clears it.
pub fn read_save(words: &[&str], present: &str) -> Result<String, &'static str> {
    const BAD: &str = "Invalid save parameters";
    if words.is_empty() {
        return Ok(String::new());
    }
    if !words.len().is_multiple_of(2) {
        return Err(BAD);
    }
    for pair in words.chunks(2) {
        let seconds = parse_i64(pair[0].as_bytes()).ok_or(BAD)?;
        let changes = parse_i64(pair[1].as_bytes()).ok_or(BAD)?;
        if seconds < 1 || !(0..=i64::from(i32::MAX)).contains(&changes) {
            return Err(BAD);
        }
    }
    let blank = if present.is_empty() { "" } else { " " };
    Ok(format!("{present}{blank}{}", words.join(" ")))
}

/// The classes of clients, as CONFIG GET calls them.
pub const CLIENT_CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// `client-output-buffer-limit`: groups of class, hard limit, soft limit, seconds; classes not named keep theirs.
pub fn read_output_limits(words: &[&str], present: &str) -> Result<String, &'static str> {
    const BAD: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.");
    }
    let mut limits = output_limits(present);
    for group in words.chunks(4) {
        let name = group[0].to_ascii_lowercase();
        let name = if name == "replica" { "slave" } else { &name };
        let Some(class) = CLIENT_CLASSES.iter().position(|class| *class == name) else {
            return Err("Invalid client class specified in buffer limit configuration.");
        };
        let bytes = |text: &str| parse_memory(text.as_bytes()).filter(|&bytes| bytes <= i64::MAX as u64);
        let seconds = parse_i64(group[3].as_bytes()).and_then(|seconds| u64::try_from(seconds).ok());
        limits[class] = [bytes(group[1]).ok_or(BAD)?, bytes(group[2]).ok_or(BAD)?, seconds.ok_or(BAD)?];
    }
    let groups = CLIENT_CLASSES.iter().zip(limits);
    let shown: Vec<String> =
        groups.map(|(class, [hard, soft, seconds])| format!("{class} {hard} {soft} {seconds}")).collect();
    Ok(shown.join(" "))
}

/// The limits of the classes, from the canonical text: hard bytes, soft bytes, soft seconds.
pub fn output_limits(canonical: &str) -> [[u64; 3]; 3] {
    let mut limits = [[0; 3]; 3];
    let words: Vec<&str> = canonical.split(' ').collect();
    for (limit, group) in limits.iter_mut().zip(words.chunks(4)) {
        for (number, word) in limit.iter_mut().zip(group.iter().skip(1)) {
            *number = word.parse().unwrap_or(0);
        }
    }
    limits
}

/// `bind`: up to 16 addresses.
pub fn read_addresses(words: &[&str], _present: &str) -> Result<String, &'static str> {
    if words.len() > 16 {
        return Err("Too many bind addresses specified.");
    }
    Ok(words.join(" "))
}

/// `oom-score-adj-values`: three numbers.
pub fn read_oom_scores(words: &[&str], _present: &str) -> Result<String, &'static str> {
    if words.len() != 3 {
        return Err("wrong number of arguments");
    }
    let is_fine =
        |word: &&str| parse_i64(word.as_bytes()).is_some_and(|score| (-2000..=2000).contains(&score));
    if !words.iter().all(is_fine) {
        return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
    }
    Ok(words.join(" "))
}

/// `latency-tracking-info-percentiles`.
pub fn read_percentiles(words: &[&str], _present: &str) -> Result<String, &'static str> {
    let mut shown = Vec::new();
    for word in words {
        let percentile =
            parse_f64(word.as_bytes()).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&percentile) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
        }
        shown.push(percentile.to_string());
    }
    Ok(shown.join(" "))
}

/// `replicaof`: host and port, or `no one`.
pub fn read_primary(words: &[&str], _present: &str) -> Result<String, &'static str> {
    let [host, port] = words else { return Err("wrong number of arguments") };
    if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        return Ok(String::new());
    }
    match parse_i64(port.as_bytes()) {
        Some(0..=65535) => Ok(words.join(" ")),
        _ => Err("Invalid master port"),
    }
}

/// `shutdown-on-sigint` and `shutdown-on-sigterm`: words that go together.
pub fn read_shutdown_flags(words: &[&str], _present: &str) -> Result<String, &'static str> {
    const KNOWN: [&str; 5] = ["default", "save", "nosave", "now", "force"];
    let words: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    if words.is_empty() || words.iter().any(|word| !KNOWN.contains(&word.as_str())) {
        return Err("argument(s) must be one of the following: default, save, nosave, now, force");
    }
    let has = |name: &str| words.iter().any(|word| word == name);
    if has("save") && has("nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously");
    }
    let shown: Vec<&str> = KNOWN.into_iter().skip(1).filter(|name| has(name)).collect();
    Ok(if shown.is_empty() { "default".to_owned() } else { shown.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_classes_are_shown_in_the_order_of_redis() {
        let cases = [
            ("AKE", "AKE"),
            ("KEgxmn", "gxnKEm"),
            ("KEg$lshztxed", "AKE"),
            ("KEg$lshztxedmn", "AKEmn"),
            ("KEcon", "nocKE"),
            ("", ""),
        ];
        for (given, shown) in cases {
            assert_eq!(read_events(given).as_deref(), Ok(shown), "{given}");
        }
        assert!(read_events("q").is_err());
    }

    #[test]
    fn output_limits_change_only_the_classes_named() {
        let present = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let words = ["replica", "1kb", "1kb", "10", "pubsub", "1", "2", "3"];
        let shown = "normal 0 0 0 slave 1024 1024 10 pubsub 1 2 3";
        assert_eq!(read_output_limits(&words, present).as_deref(), Ok(shown));
        assert_eq!(read_output_limits(&[], present).as_deref(), Ok(present));
        for bad in ["normal 0 0", "master 1 1 1", "normal -1 0 0", "normal 0 0 -1", "normal 0 0 'x'"] {
            let words: Vec<&str> = bad.split(' ').collect();
            assert!(read_output_limits(&words, present).is_err(), "{bad}");
        }
    }

    #[test]
    fn save_takes_pairs() {
        assert_eq!(read_save(&["900", "1", "300", "10"], "").as_deref(), Ok("900 1 300 10"));
        assert_eq!(read_save(&["300", "10"], "900 1").as_deref(), Ok("900 1 300 10"));
        assert_eq!(read_save(&[], "900 1").as_deref(), Ok(""));
        for bad in ["900", "0 1", "1 -1", "a b", "10 1 20"] {
            assert!(read_save(&bad.split(' ').collect::<Vec<_>>(), "").is_err(), "{bad}");
        }
    }

    #[test]
    fn other_lists_have_the_rules_of_redis() {
        assert_eq!(
            read_percentiles(&["50", "99.9", "100.0", "0.001"], "").as_deref(),
            Ok("50 99.9 100 0.001")
        );
        assert!(read_percentiles(&["101"], "").is_err());
        assert!(read_addresses(&["a"; 17], "").is_err());
        assert_eq!(read_oom_scores(&["3", "2", "1"], "").as_deref(), Ok("3 2 1"));
        assert!(read_oom_scores(&["1", "2", "3000"], "").is_err());
        assert_eq!(read_primary(&["no", "ONE"], "").as_deref(), Ok(""));
        assert_eq!(read_primary(&["a", "99999"], ""), Err("Invalid master port"));
        assert_eq!(read_shutdown_flags(&["force", "NOSAVE"], "").as_deref(), Ok("nosave force"));
        assert!(read_shutdown_flags(&["save", "nosave"], "").is_err());
        assert!(
            read_title("{title} {port}").is_ok() && read_title("{x}").is_err() && read_title("{").is_err()
        );
        assert!(read_hostname("a-b.c").is_ok() && read_hostname("a_b").is_err());
        assert!(read_dbfilename("a/b").is_err());
    }
}
