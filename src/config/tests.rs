//! Claims about the settings as a whole: the tables against Redis, conf/tuff.conf against the tables, loading and CONFIG SET.

use super::directive::{Kind, Standing, Value};
use super::table_obeyed::OBEYED;
use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// CONFIG GET * of Redis 8.2.3 without a file, but for `dir`: a name and its value in a line.
const REDIS_DEFAULTS: &str = include_str!("redis_defaults.txt");
const TUFF_CONF: &str = include_str!("../../conf/tuff.conf");

/// Where Tuff's default is meant to be another.
const OTHER_DEFAULTS: [(&str, &str); 4] =
    [("appendonly", "yes"), ("bind", "127.0.0.1 -::1"), ("maxmemory", "1073741824"), ("save", "")];

/// The directives that Redis does not have.
const OWN: &[&str] = &[
    "workers",
    "pool-threads",
    "hot-tier-policy",
    "hot-tier-percent",
    "block-cache-percent",
    "write-buffer-percent",
    "packing",
    "packed-max-bytes",
    "max-total-wal-size",
    "checkpoint-keep",
    "metrics-port",
    "metrics-bind",
];

fn load(words: &[&str], stdin: &str) -> Result<(Config, Vec<Warning>), String> {
    Config::load_with(words, &mut stdin.as_bytes()).map_err(|error| error.to_string())
}

fn from_text(text: &str) -> Result<(Config, Vec<Warning>), String> {
    load(&["-"], text)
}

fn pairs(words: &[&str]) -> Vec<(String, String)> {
    words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn set(config: &Config, words: &[&str]) -> Result<Vec<&'static str>, String> {
    config.check(&pairs(words)).map(|checked| config.apply_checked(checked).0)
}

fn one(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

fn refused(text: &str) -> String {
    from_text(text).err().unwrap_or_else(|| panic!("this should not load: {text}"))
}

fn reason_for(text: &str) -> String {
    refused(text).lines().last().unwrap().to_owned()
}

#[test]
fn config_get_shows_the_names_and_defaults_of_redis() {
    let mut expected: BTreeMap<&str, &str> =
        REDIS_DEFAULTS.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
    for (name, value) in OTHER_DEFAULTS {
        assert_ne!(expected.insert(name, value), Some(value), "{name} is no difference any more");
    }
    let config = Config::default();
    let shown = config.get(&[b"*"]);
    let mut shown: BTreeMap<&str, &str> = shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for name in OWN.iter().chain(&["dir"]) {
        assert!(shown.remove(name).is_some(), "{name}");
    }
    assert_eq!(shown, expected);
}

#[test]
fn a_redis_conf_that_says_all_defaults_loads_without_effect() {
    let mut text = String::new();
    // Redis too refuses the empty value that it shows for `replicaof`.
    let of_primary = ["replicaof", "slaveof"];
    for line in REDIS_DEFAULTS.lines().filter(|line| !of_primary.contains(line)) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        text += &format!("{name} {}\n", value::quote(value));
    }
    let (config, warnings) = from_text(&text).unwrap();
    let differing: Vec<_> = TABLE
        .iter()
        .enumerate()
        .filter(|&(index, directive)| config.value(index) != directive.default())
        .map(|(_, directive)| directive.name)
        .collect();
    let mut expected = OTHER_DEFAULTS.map(|(name, _)| name).to_vec();
    expected.sort_by_key(|name| TABLE.iter().position(|directive| directive.name == *name));
    assert_eq!(differing, expected);
    // The differences only: `save` has no effect, `appendonly no` neither.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn names_are_unique_and_every_directive_is_explained() {
    let mut names = BTreeSet::new();
    for directive in &TABLE {
        for name in directive.names() {
            assert!(names.insert(name), "{name} is there twice");
            assert!(find(&name.to_ascii_uppercase()).is_some_and(|(_, spelt)| spelt == name));
        }
        assert!(directive.doc.ends_with('.'), "{} has no sentence", directive.name);
        if let Kind::Integer { default, min, max, .. } | Kind::Memory { default, min, max, .. } =
            directive.kind
        {
            assert!((min..=max).contains(&default), "{}", directive.name);
        }
    }
    for name in OWN {
        assert!(OBEYED.iter().any(|directive| directive.name == *name), "{name}");
    }
    let is_ignored = |directive: &Directive| matches!(directive.standing, Standing::Ignored(_));
    assert!(!OBEYED.iter().any(is_ignored));
    let is_obeyed = |directive: &&Directive| directive.standing == Standing::Obeyed && directive.is_setting();
    assert_eq!(table_accepted::ACCEPTED.iter().find(is_obeyed).map(|directive| directive.name), None);
}

#[test]
fn every_value_written_out_reads_back() {
    for directive in &TABLE {
        if !directive.is_setting() {
            continue;
        }
        let (config, _) = from_text(&value::write(directive, &directive.default()).join("\n")).unwrap();
        let (index, _) = find(directive.name).unwrap();
        assert_eq!(config.value(index), directive.default(), "{}", directive.name);
    }
}

#[test]
fn the_file_that_comes_with_tuff_holds_the_default_of_every_directive_it_obeys() {
    let (config, warnings) = from_text(TUFF_CONF).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.get(&[b"*"]), Config::default().get(&[b"*"]));
    let said: BTreeSet<&str> = TUFF_CONF.lines().filter_map(|line| line.split(' ').next()).collect();
    for directive in OBEYED {
        assert!(said.contains(directive.name), "conf/tuff.conf does not say {}", directive.name);
    }
    assert!(TUFF_CONF.lines().all(|line| line.len() <= 127));
}

#[test]
fn options_win_over_standard_input() {
    let (config, _) = load(
        &["-", "--port", "7001", "--save", "60 1", "--bind", "127.0.0.1", "-::1"],
        "port 7000\ntimeout 3\n",
    )
    .unwrap();
    assert_eq!((config.port(), config.timeout_seconds()), (7001, 3));
    assert_eq!(one(&config, "save"), "60 1");
    let expected = [("127.0.0.1".to_owned(), false), ("::1".to_owned(), true)];
    assert_eq!(config.listen_addresses(), expected);
    assert_eq!(config.file(), None);
}

#[test]
fn wrong_lines_are_refused_in_the_words_of_redis() {
    let head = format!("*** FATAL CONFIG FILE ERROR (Tuff {}) ***", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        refused("\n# x\n  maxmemory   lots  \n"),
        format!(
            "{head}\nReading the configuration on standard input, at line 3\n>>> 'maxmemory   lots'\nargument must be a memory value"
        )
    );
    let text = load(&["--port", "0", "--maxmemory", "1", "2"], "").err().unwrap();
    assert_eq!(
        text,
        format!(
            "{head}\nReading the command line, at line 2\n>>> 'maxmemory \"1\" \"2\"'\nwrong number of arguments"
        )
    );
    let cases = [
        ("maxmemory", "wrong number of arguments"),
        ("maxmemory 6 # no comment", "wrong number of arguments"),
        ("maxmemory \"1", "Unbalanced quotes in configuration line"),
        ("bogus 1", "Bad directive or wrong number of arguments"),
        ("include", "Bad directive or wrong number of arguments"),
        ("save 900", "Invalid save parameters"),
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ("databases 0", "argument must be between 1 and 2147483647 inclusive"),
        ("daemonize maybe", "argument must be 'yes' or 'no'"),
        ("replicaof a b", "Invalid master port"),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
        ("client-output-buffer-limit normal 0 0", "Wrong number of arguments in buffer limit configuration."),
        ("loadmodule /x.so", "Can't load module from /x.so: there are no modules"),
        ("dir /dev/null", "Not a directory"),
        (
            "user default off",
            "Error in user declaration 'off': the default user can have a >password, and may do everything",
        ),
        // As one word, as lists of arguments often have it: a user of that name would let everybody in.
        ("user \"default on >secret ~* &* +@all\"", "Spaces not allowed in ACL usernames"),
        ("user default on >a >b", "Error in user declaration: the default user can have one password only"),
        (
            "port 0\nunixsocket /x",
            "port 0 picks a free TCP port, and neither a unix socket nor TLS can be served instead: give a port",
        ),
        (
            "port 0\ntls-port 6380",
            "port 0 picks a free TCP port, and neither a unix socket nor TLS can be served instead: give a port",
        ),
        ("aclfile /x", "ACL files are not supported; set a password with requirepass"),
        (
            "hot-tier-percent 80",
            "hot-tier-percent, block-cache-percent and write-buffer-percent are more than 100 together",
        ),
    ];
    for (text, reason) in cases {
        assert_eq!(reason_for(text), reason, "{text}");
    }
}

#[test]
fn lines_that_are_no_settings_load() {
    let text = "user default on >secret ~* &* +@all\nuser alice on\nrename-command GET \"\"\nlua-replicate-commands yes\n\
                io-threads-do-reads yes\nslaveof no one\ninclude nothing-*.conf\nbind\n";
    let (config, warnings) = from_text(text).unwrap();
    assert_eq!(config.requirepass().as_str(), "secret");
    let mut renamed = Vec::new();
    config
        .rename_commands(|old, new| {
            renamed.push((old.to_owned(), new.to_owned()));
            Ok(())
        })
        .unwrap();
    assert_eq!(renamed, [("GET".to_owned(), String::new())]);
    assert_eq!(config.bind(), Vec::<String>::new());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(config.get(&[b"user", b"include", b"rename-command"]), []);
}

#[test]
fn a_renaming_that_is_refused_is_the_fault_of_its_line() {
    let (config, _) = from_text("port 0\nrename-command get \"\"\n\nrename-command nope x\n").unwrap();
    let refused = |old: &str, _: &str| if old == "nope" { Err("No such command") } else { Ok(()) };
    let text = config.rename_commands(refused).unwrap_err().to_string();
    let expected = "Reading the configuration on standard input, at line 4\n>>> 'rename-command nope x'\nNo such command";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn files_include_files_and_a_circle_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    write("a.conf", &format!("timeout 1\ninclude {}\ntcp-keepalive 5\n", path("more-*.conf")));
    write("more-1.conf", "timeout 2\n");
    write("more-2.conf", "timeout 3\ntcp-keepalive 4\n");
    let (config, _) = load(&[&path("a.conf")], "").unwrap();
    assert_eq!((config.timeout_seconds(), config.tcp_keepalive_seconds()), (3, 5));
    assert_eq!(config.file().and_then(Path::to_str), Some(path("a.conf").as_str()));

    write("more-2.conf", "\nmaxmemory y\n");
    let text = load(&[&path("a.conf")], "").err().unwrap();
    assert!(
        text.contains(&format!("the configuration file '{}', at line 2\n", path("more-2.conf"))),
        "{text}"
    );

    write("circle.conf", &format!("include {0}\ninclude {0}\n", path("circle.conf")));
    assert!(load(&[&path("circle.conf")], "").err().unwrap().contains("too many files include each other"));
    // Bytes of another encoding may stand in a comment.
    std::fs::write(path("latin.conf"), b"# caf\xe9\nmaxclients 77\n").unwrap();
    assert_eq!(load(&[&path("latin.conf")], "").map(|(config, _)| config.maxclients()).ok(), Some(77));
    std::fs::write(path("latin.conf"), b"# caf\xe9\n\nrequirepass caf\xe9\n").unwrap();
    let said = load(&[&path("latin.conf")], "").err().unwrap();
    assert!(said.ends_with("latin.conf': line 3 is not valid UTF-8"), "{said}");
    let text =
        format!("Fatal error, can't open config file '{}': No such file or directory", path("none.conf"));
    assert_eq!(load(&[&path("none.conf")], "").err(), Some(text));
}

#[test]
fn config_get_matches_patterns_and_exact_names() {
    let config = Config::default();
    let names =
        |patterns: &[&[u8]]| -> Vec<&str> { config.get(patterns).iter().map(|(name, _)| *name).collect() };
    assert_eq!(names(&[b"max?emory", b"MAXMEMORY", b"maxmemory"]), ["maxmemory"]);
    assert_eq!(names(&[b"hash-max-ziplist-*"]), ["hash-max-ziplist-entries", "hash-max-ziplist-value"]);
    assert_eq!(names(&[b"watchdog-*"]), Vec::<&str>::new());
    assert_eq!(names(&[b"watchdog-period"]), ["watchdog-period"]);
    assert_eq!(names(&[b""]), Vec::<&str>::new());
}

#[test]
fn config_set_changes_everything_or_nothing() {
    let config = Config::default();
    let reason = "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer";
    assert_eq!(set(&config, &["maxclients", "5", "timeout", "x"]), Err(reason.to_owned()));
    assert_eq!(config.maxclients(), 10000);
    assert_eq!(set(&config, &["maxclients", "5", "timeout", "0", "HZ", "20"]), Ok(vec!["maxclients", "hz"]));
    assert_eq!((config.maxclients(), one(&config, "hz").as_str()), (5, "20"));
    // Both names of one setting are no duplicate; the later wins.
    set(&config, &["hash-max-listpack-entries", "4", "hash-max-ziplist-entries", "5"]).unwrap();
    assert_eq!(config.hash_entries_max(), 5);
    let limits = ["client-output-buffer-limit", "replica 1kb 1kb 10 normal 7 5 3"];
    set(&config, &limits).unwrap();
    let expected = OutputLimit { hard_bytes: 7, soft_bytes: 5, soft_seconds: 3 };
    assert_eq!(config.output_limit(ClientClass::Normal), expected);
    assert_eq!(config.output_limit(ClientClass::Pubsub).hard_bytes, 32 << 20);
}

#[test]
fn config_set_refuses_in_the_words_of_redis() {
    let config = Config::default();
    let failed = |name: &str, reason: &str| {
        Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
    };
    let unknown =
        |name: &str| Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
    let cases: [(&[&str], _); 13] = [
        (&["bogus", "1", "maxmemory", "x"], unknown("bogus")),
        (&["maxmemory", "x", "bogus", "1"], unknown("bogus")),
        (&["include", "x"], unknown("include")),
        (&["maxmemory", "7", "MAXMEMORY", "6"], failed("MAXMEMORY", "duplicate parameter")),
        (&["Maxmemory", "x"], failed("maxmemory", "argument must be a memory value")),
        (&["maxmemory", "x", "databases", "1"], failed("databases", "can't set immutable config")),
        (&["dir", "x"], failed("dir", "can't set protected config")),
        (&["port", "abc"], failed("port", "argument couldn't be parsed into an integer")),
        (&["timeout", "-1"], failed("timeout", "argument must be between 0 and 2147483647 inclusive")),
        (&["maxclients", "0"], failed("maxclients", "argument must be between 1 and 4294967295 inclusive")),
        (
            &["hash-max-ziplist-entries", "-1"],
            failed("hash-max-ziplist-entries", "argument must be greater or equal to 0"),
        ),
        (
            &["appendfsync", "sometimes"],
            failed("appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        ),
        (&["port", "1"], failed("port", "Tuff takes another value only from its configuration, at a start")),
    ];
    for (words, answer) in cases {
        assert_eq!(set(&config, words), answer, "{words:?}");
    }
    assert_eq!(set(&config, &["port", "6379"]), Ok(vec![]));
    assert!(set(&config, &["hot-tier-percent", "61"]).is_err());
    set(&config, &["write-buffer-percent", "5", "hot-tier-percent", "61"]).unwrap();
    let open = from_text("enable-protected-configs yes").unwrap().0;
    assert_eq!(set(&open, &["dbfilename", "x.rdb"]), Ok(vec!["dbfilename"]));
    assert_eq!(set(&open, &["dir", "/"]), failed("dir", "the database is open in the present folder"));
}

#[test]
fn maxclients_stays_within_what_the_system_can_serve() {
    let config = Config::default();
    config.bound_clients(333);
    assert_eq!(config.maxclients(), 333);
    let text = "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
                handle the specified number of clients, try with 333";
    assert_eq!(set(&config, &["maxclients", "334"]), Err(text.to_owned()));
    set(&config, &["maxclients", "20"]).unwrap();
    set(&config, &["maxclients", "333"]).unwrap();
}

#[test]
fn a_setting_without_effect_is_kept_and_warned_of() {
    let config = Config::default();
    let checked =
        config.check(&pairs(&["maxmemory", "10mb", "activedefrag", "yes", "masterauth", "secret"])).unwrap();
    let (changed, warnings) = config.apply_checked(checked);
    assert_eq!(changed, ["maxmemory", "activedefrag", "masterauth"]);
    let texts: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts[0].starts_with("maxmemory 10485760: less than 64mb"), "{texts:?}");
    assert!(!texts[2].contains("secret"), "{texts:?}");
    assert_eq!(
        (one(&config, "maxmemory").as_str(), one(&config, "activedefrag").as_str()),
        ("10485760", "yes")
    );
    assert_eq!(config.memory_bytes_max(), 64 << 20);
}

#[test]
fn what_is_stored_and_not_obeyed_is_checked_and_warned_of() {
    let config = Config::default();
    let shown = [("KEA", "AKE"), ("gxE", "gxE"), ("KEAmn", "AKEmn"), ("Kn", "nK"), ("", "")];
    for (given, kept) in shown {
        set(&config, &["notify-keyspace-events", given]).unwrap();
        assert_eq!(one(&config, "notify-keyspace-events"), kept, "{given}");
    }
    let reason = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    let text =
        format!("ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - {reason}");
    assert_eq!(set(&config, &["notify-keyspace-events", "q"]), Err(text));
    for (name, value) in [("latency-monitor-threshold", "1"), ("shutdown-timeout", "1")] {
        let checked = config.check(&pairs(&[name, value])).unwrap();
        let (_, warnings) = config.apply_checked(checked);
        assert!(warnings[0].to_string().contains(": no effect, because "), "{name}: {warnings:?}");
    }
}

#[test]
fn memory_is_shared_out_in_percent_and_zero_is_most_of_the_machine() {
    let config = from_text("maxmemory 1000mb\nhot-tier-percent 40").unwrap().0;
    assert_eq!(config.hot_tier_bytes(), (400 << 20) as usize);
    assert_eq!(config.block_cache_bytes(), (250 << 20) as usize);
    assert_eq!(config.write_buffer_bytes(), (150 << 20) as usize);
    set(&config, &["maxmemory", "0"]).unwrap();
    assert_eq!(config.memory_bytes_max(), (config.machine_bytes / 4 * 3).max(64 << 20));
    assert!(config.workers() >= 1);
}

#[test]
fn the_hot_tier_follows_maxmemory_policy_unless_told_otherwise() {
    let cases = [
        ("auto", "noeviction", HotPolicy::Lru),
        ("auto", "allkeys-lfu", HotPolicy::Lfu),
        ("auto", "volatile-lfu", HotPolicy::Lfu),
        ("auto", "volatile-lru", HotPolicy::Lru),
        ("lru", "allkeys-lfu", HotPolicy::Lru),
        ("lfu", "noeviction", HotPolicy::Lfu),
    ];
    for (own, redis, policy) in cases {
        let config = from_text(&format!("hot-tier-policy {own}\nmaxmemory-policy {redis}")).unwrap().0;
        assert_eq!(config.hot_policy(), policy, "{own} {redis}");
    }
}

#[test]
fn getters_of_words_agree_with_the_table() {
    let config = Config::default();
    for (word, level) in
        [("debug", LogLevel::Debug), ("NOTICE", LogLevel::Notice), ("nothing", LogLevel::Nothing)]
    {
        set(&config, &["loglevel", word]).unwrap();
        assert_eq!(config.loglevel(), level);
    }
    for (word, fsync) in
        [("always", AppendFsync::Always), ("no", AppendFsync::No), ("everysec", AppendFsync::Everysec)]
    {
        set(&config, &["appendfsync", word]).unwrap();
        assert_eq!(config.appendfsync(), fsync);
    }
    assert_eq!(config.latency_percentiles(), [50.0, 99.0, 99.9]);
    assert_eq!(config.slowlog_slower_than_us(), 10000);
}

#[test]
fn the_data_folder_is_absolute_and_without_dots() {
    let config = Config::default();
    assert_eq!(config.dir(), std::env::current_dir().unwrap().join("data"));
    assert_eq!(one(&config, "dir"), config.dir().display().to_string());
    assert_eq!(config.value(DIR), Value::Text("./data".to_owned()));
}
