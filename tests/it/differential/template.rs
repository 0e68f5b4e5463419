//! The language of the command tables: one line tells how a random command is made and how its replies compare.
//!
//! A template is words parted by blanks. Capital words stand for themselves; `<kind>` is a random argument of that kind
//! (see `argument`); `[A|B x]` is nothing or one of its alternatives; `{A|B}` is always one of them; `( .. )+` is repeated one
//! to four times. `"SET <str> <value> [NX|XX] [EX <far>|KEEPTTL]"` makes every SET of that shape.

use crate::chance::Chance;

/// How the two replies of one command compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// To the byte.
    Exact,
    /// An array or set in free order.
    Sorted,
    /// Field-value pairs in free order.
    Pairs,
    /// Integers that may be off by this much: what is left of a time to live.
    Near(i64),
    /// A random pick: equal in shape; each item is one that this command (with the same key, if it takes one) lists.
    PickedFrom(&'static str),
    /// One page of a scan: both servers are scanned to the end and the sets of what they gave are compared.
    Scan,
    /// OBJECT ENCODING: exact, but int, embstr and raw are one.
    Encoding,
}

/// One line of a family's table: how often (against the other lines), what, and how it compares.
pub type Entry = (u64, &'static str, Compare);

/// Makes the words of one command.
pub fn generate(template: &str, chance: &mut Chance) -> Vec<Vec<u8>> {
    let tokens: Vec<String> = tokenize(template);
    let mut words = Vec::new();
    let mut at = 0;
    sequence(&tokens, &mut at, chance, Some(&mut words));
    assert_eq!(at, tokens.len(), "the template {template:?} has an unbalanced bracket");
    words
}

fn tokenize(template: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in template.chars() {
        match c {
            '[' | ']' | '{' | '}' | '|' | '(' => spaced.push_str(&format!(" {c} ")),
            ')' => spaced.push_str(" )"),
            _ => spaced.push(c),
        }
    }
    spaced.split_whitespace().map(str::to_string).collect()
}

/// Reads on to the end of this alternative; the words are made only when `out` is given.
fn sequence(tokens: &[String], at: &mut usize, chance: &mut Chance, mut out: Option<&mut Vec<Vec<u8>>>) {
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            "|" | "]" | "}" | ")+" => return,
            "[" | "{" => {
                let count = alternatives(tokens, *at);
                let skip = token == "[" && chance.one_in(2);
                let chosen = chance.below(count);
                for i in 0..count {
                    *at += 1;
                    let wanted = if i == chosen && !skip { out.as_deref_mut() } else { None };
                    sequence(tokens, at, chance, wanted);
                }
                *at += 1;
            }
            "(" => {
                let start = *at + 1;
                for _ in 0..=chance.below(4) {
                    *at = start;
                    sequence(tokens, at, chance, out.as_deref_mut());
                }
                *at += 1;
            }
            word => {
                *at += 1;
                if let Some(words) = out.as_deref_mut() {
                    words.push(match word.strip_prefix('<').and_then(|w| w.strip_suffix('>')) {
                        Some(kind) => argument(kind, chance),
                        None => word.as_bytes().to_vec(),
                    });
                }
            }
        }
    }
}

/// How many alternatives the bracket at `at` holds.
fn alternatives(tokens: &[String], at: usize) -> u64 {
    let mut depth = 0;
    let mut count = 1;
    for token in &tokens[at..] {
        match token.as_str() {
            "[" | "{" | "(" => depth += 1,
            "]" | "}" | ")+" => depth -= 1,
            "|" if depth == 1 => count += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    count
}

/// A random argument. Few names and many collisions: that is where commands meet.
fn argument(kind: &str, chance: &mut Chance) -> Vec<u8> {
    // One key in thirty is of another type than the command wants.
    let key_kind = if chance.one_in(30) { *chance.pick(&["str", "hash", "list", "num"]) } else { kind };
    let text = match key_kind {
        "str" | "hash" | "list" | "num" | "set" | "zset" | "lex" | "stream" => {
            format!("{key_kind}:{}", chance.below(6))
        }
        _ => match kind {
            "key" => {
                let kind = *chance.pick(&["str", "hash", "list", "num", "zset", "stream"]);
                format!("{kind}:{}", chance.below(6))
            }
            "field" => {
                let names = if chance.one_in(6) { 40 } else { 6 };
                format!("f{}", chance.below(names))
            }
            "member" => {
                let names = if chance.one_in(6) { 200 } else { 8 };
                let name = format!("m{}", chance.below(names));
                // Some are too long for a listpack, and some for what the ends remember.
                if chance.one_in(60) { name.repeat(40) } else { name }
            }
            "score" => score(chance).to_string(),
            "bound" => {
                let open = if chance.one_in(3) { "(" } else { "" };
                format!("{open}{}", score(chance))
            }
            "lexbound" => match chance.below(12) {
                0 | 1 => "-".to_string(),
                2 | 3 => "+".to_string(),
                4 => chance.pick(&["x", "", "[", "(", "--"]).to_string(),
                5..=7 => format!("(m{}", chance.below(10)),
                _ => format!("[m{}", chance.below(40)),
            },
            "newid" => match chance.below(12) {
                0 => format!("{}-{}", chance.below(200), chance.below(3)),
                1 => stream_id(chance),
                // The clock of all streams stands near its end, so that ids go up and are the same on both.
                2..=4 => format!("{}-*", 180 + chance.below(20)),
                _ => "200-*".to_string(),
            },
            "id" => stream_id(chance),
            "idbound" => match chance.below(10) {
                0..=2 => "-".to_string(),
                3..=5 => "+".to_string(),
                6 => format!("({}", stream_id(chance)),
                _ => stream_id(chance),
            },
            "group" => chance.pick(&["g", "g", "g", "h", "h", "nosuch"]).to_string(),
            "consumer" => chance.pick(&["a", "a", "b", "c"]).to_string(),
            "value" => return value(chance),
            "int" => integer(chance),
            "float" => float(chance),
            "index" => index(chance),
            "count" => {
                if chance.one_in(20) {
                    index(chance)
                } else {
                    chance.below(6).to_string()
                }
            }
            "scancount" => chance.pick(&["1", "2", "10", "1000", "0", "-1", "x"]).to_string(),
            "far" => (1_000 + chance.below(1_000_000_000)).to_string(),
            "farms" => (1_000_000 + chance.below(1_000_000_000_000)).to_string(),
            "at" => (4_000_000_000 + chance.below(1_000_000_000)).to_string(),
            "atms" => (4_000_000_000_000 + chance.below(1_000_000_000_000)).to_string(),
            "past" => chance
                .pick(&["0", "-1", "-1000", "-9223372036854775808", "9223372036854775807", "x"])
                .to_string(),
            "db" => chance.pick(&["0", "1", "2", "0", "1", "2", "0", "1", "2", "16", "-1", "x"]).to_string(),
            "pattern" => {
                let all = [
                    "*", "f*", "str:?", "*:[1-3]", "f1*", "[^s]*", "num:\\1", "", "f[", "*:*", "hash:2",
                    "?*3",
                ];
                chance.pick(&all).to_string()
            }
            "type" => chance.pick(&["string", "hash", "list", "zset", "stream", "HASH"]).to_string(),
            "offset" => match chance.below(12) {
                0 => "-1".to_string(),
                1 => "536870912".to_string(),
                2 => "x".to_string(),
                3 => chance.below(3000).to_string(),
                _ => chance.below(20).to_string(),
            },
            other => panic!("no such kind of argument: <{other}>"),
        },
    };
    text.into_bytes()
}

/// An id that some entry may have, as streams are filled by `newid`.
fn stream_id(chance: &mut Chance) -> String {
    let odd =
        ["0", "-", "+", "$", ">", "x", "1-x", "200", "18446744073709551615-18446744073709551615", "0-0"];
    match chance.below(14) {
        0 => chance.pick(&odd).to_string(),
        1 => format!("{}", 180 + chance.below(25)),
        2..=4 => format!("{}-{}", 180 + chance.below(20), chance.below(3)),
        _ => format!("200-{}", chance.below(30)),
    }
}

fn value(chance: &mut Chance) -> Vec<u8> {
    match chance.below(16) {
        0 => Vec::new(),
        1 => vec![0, 255, b'\r', b'\n', chance.below(256) as u8],
        2 | 3 => vec![b'a' + chance.below(26) as u8; 30 + chance.below(40) as usize],
        4 if chance.one_in(4) => vec![b'A' + chance.below(26) as u8; 200 + chance.below(3000) as usize],
        4..=7 => integer(chance).into_bytes(),
        8 => float(chance).into_bytes(),
        _ => format!("v{}", chance.below(1000)).into_bytes(),
    }
}

fn integer(chance: &mut Chance) -> String {
    let odd = [
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775807",
        "1.5",
        "x",
        "",
        " 1",
        "01",
        "-0",
        "+1",
        "1 ",
    ];
    match chance.below(10) {
        0 => chance.pick(&odd).to_string(),
        1 => ((chance.next() as i64) >> chance.below(60)).to_string(),
        _ => (chance.below(200) as i64 - 100).to_string(),
    }
}

fn float(chance: &mut Chance) -> String {
    let odd =
        ["inf", "-inf", "nan", "1e300", "x", "", " 1", "1e5000", "0x10", "-0", "3.0e5", "1e-10", ".5", "5."];
    match chance.below(8) {
        0 => chance.pick(&odd).to_string(),
        1 => (chance.below(200) as i64 - 100).to_string(),
        _ => format!("{}.{}", chance.below(200) as i64 - 100, chance.below(1000)),
    }
}

/// Few scores, so that many members share one.
fn score(chance: &mut Chance) -> &'static str {
    let odd = [
        "inf",
        "-inf",
        "+inf",
        "nan",
        "x",
        "",
        "-0",
        "1e300",
        "-1e300",
        "0.1",
        "0.2",
        "1e-7",
        "12345678901234567",
    ];
    let usual = ["0", "1", "2", "3", "-1", "1.5", "2.5", "10"];
    let scores: &[&str] = if chance.one_in(6) { &odd } else { &usual };
    chance.pick::<&str>(scores)
}

fn index(chance: &mut Chance) -> String {
    let odd = ["9223372036854775807", "-9223372036854775808", "x", "1.5", "", "9223372036854775808"];
    if chance.one_in(25) { chance.pick(&odd).to_string() } else { (chance.below(20) as i64 - 10).to_string() }
}

#[test]
fn templates_make_what_they_say() {
    let mut chance = Chance::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        let words = generate("A [B|C [D]] {E|F G} (H I)+", &mut chance);
        seen.insert(String::from_utf8(words.join(&b' ')).unwrap());
    }
    for text in ["A E H I", "A B F G H I", "A C D E H I H I H I H I", "A C E H I H I"] {
        assert!(seen.contains(text), "{text} was never made");
    }
    assert_eq!(seen.len(), 4 * 2 * 4);
}
