//! A reply as the tests see it: every RESP2 and RESP3 type kept apart, with a readable text form that loses nothing.
//!
//! The text form, one line a value, children indented by two spaces:
//! `+OK` simple string, `-ERR no` error, `:1` integer, `"a\x00b"` bulk string, `$-1` and `*-1` RESP2's two nulls, `_` RESP3's
//! null, `*2` array, `%1` map (its keys and values in turn), `~2` set, `>3` push, `,1.5` double, `#t` boolean, `(12` big
//! number, `="txt:..."` verbatim string, `(closed)` the end of the connection. `parse_text` reads it back.

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    NullBulk,
    NullArray,
    Null,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(Vec<u8>),
    Boolean(bool),
    BigNumber(Vec<u8>),
    Verbatim(Vec<u8>),
    /// The server closed the connection instead of answering.
    Closed,
}

impl Value {
    /// The bytes of any kind of string, or nothing.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(b) | Value::Bulk(b) | Value::Verbatim(b) | Value::Double(b) => Some(b),
            _ => None,
        }
    }

    /// The bytes of any kind of string as text; panics on anything else.
    pub fn text(&self) -> String {
        let bytes = self.bytes().unwrap_or_else(|| panic!("a string was expected, not {}", self.render()));
        String::from_utf8_lossy(bytes).into_owned()
    }

    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(n) => *n,
            other => panic!("an integer was expected, not {}", other.render()),
        }
    }

    /// The items of an array, set or push; a map gives keys and values in turn.
    pub fn items(&self) -> Vec<Value> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items.clone(),
            Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect(),
            other => panic!("an array was expected, not {}", other.render()),
        }
    }

    pub fn is_ok(&self) -> bool {
        *self == Value::Simple(b"OK".to_vec())
    }

    /// The readable form, lines joined by line feeds, none at the end.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.render_at(0, &mut out);
        out.pop();
        out
    }

    fn render_at(&self, depth: usize, out: &mut String) {
        out.push_str(&"  ".repeat(depth));
        let line = match self {
            Value::Simple(b) => format!("+{}", escape(b, false)),
            Value::Error(b) => format!("-{}", escape(b, false)),
            Value::Integer(n) => format!(":{n}"),
            Value::Bulk(b) => quote(b),
            Value::NullBulk => "$-1".to_string(),
            Value::NullArray => "*-1".to_string(),
            Value::Null => "_".to_string(),
            Value::Array(items) => format!("*{}", items.len()),
            Value::Map(pairs) => format!("%{}", pairs.len()),
            Value::Set(items) => format!("~{}", items.len()),
            Value::Push(items) => format!(">{}", items.len()),
            Value::Double(b) => format!(",{}", escape(b, false)),
            Value::Boolean(b) => if *b { "#t" } else { "#f" }.to_string(),
            Value::BigNumber(b) => format!("({}", escape(b, false)),
            Value::Verbatim(b) => format!("={}", quote(b)),
            Value::Closed => "(closed)".to_string(),
        };
        out.push_str(&line);
        out.push('\n');
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => {
                items.iter().for_each(|item| item.render_at(depth + 1, out));
            }
            Value::Map(pairs) => {
                for (key, value) in pairs {
                    key.render_at(depth + 1, out);
                    value.render_at(depth + 1, out);
                }
            }
            _ => {}
        }
    }

    /// The same reply with free order removed: the items of an array or set sorted, of a map by key. Of a SCAN reply
    /// (cursor, items) the items are sorted.
    pub fn sorted(mut self) -> Value {
        match &mut self {
            Value::Array(items) if is_scan(items) => {
                let page = std::mem::replace(&mut items[1], Value::Null);
                items[1] = page.sorted();
            }
            Value::Array(items) | Value::Set(items) => items.sort(),
            Value::Map(pairs) => pairs.sort(),
            _ => {}
        }
        self
    }

    /// As `sorted`, for flat field-value arrays: pairs stay together.
    pub fn sorted_pairs(mut self) -> Value {
        match &mut self {
            Value::Array(items) if is_scan(items) => {
                let page = std::mem::replace(&mut items[1], Value::Null);
                items[1] = page.sorted_pairs();
            }
            Value::Array(items)
                if items.len() % 2 == 0 && !items.iter().any(|i| matches!(i, Value::Array(_))) =>
            {
                let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
                pairs.sort();
                *items = pairs.concat();
            }
            _ => return self.sorted(),
        }
        self
    }

    /// Equal, but integers (and text that is one) may differ by `off`; negative ones may not, they are answers like "no key".
    pub fn is_near(&self, other: &Value, off: i64) -> bool {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => {
                a == b || (*a >= 0 && *b >= 0 && a.abs_diff(*b) <= off as u64)
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_near(b, off))
            }
            _ => self == other,
        }
    }
}

fn is_scan(items: &[Value]) -> bool {
    matches!(items, [Value::Bulk(_), Value::Array(_)])
}

/// The text in double quotes, as redis-cli shows it.
pub fn quote(bytes: &[u8]) -> String {
    format!("\"{}\"", escape(bytes, true))
}

fn escape(bytes: &[u8], quotes: bool) -> String {
    let mut out = String::new();
    for &b in bytes {
        match b {
            b'\\' => out.push_str("\\\\"),
            b'"' if quotes => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(b as char),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'\\' || i + 1 == bytes.len() {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        i += 2;
        match bytes[i - 1] {
            b'x' if i + 2 <= bytes.len() => {
                out.push(u8::from_str_radix(&text[i..i + 2], 16).expect("two hex digits after \\x"));
                i += 2;
            }
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            other => out.push(other),
        }
    }
    out
}

/// Splits a command line as redis-cli does: blanks part the words, double quotes know escapes, single quotes only `\'`.
pub fn split_words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut i = 0;
    loop {
        while i < bytes.len() && bytes[i].is_ascii_whitespace() {
            i += 1;
        }
        if i == bytes.len() {
            return Ok(words);
        }
        let start = i;
        match bytes[i] {
            quote @ (b'"' | b'\'') => {
                i += 1;
                while i < bytes.len() && bytes[i] != quote {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                if i >= bytes.len() {
                    return Err(format!("unbalanced quotes in: {line}"));
                }
                let inner = &line[start + 1..i];
                words.push(if quote == b'"' {
                    unescape(inner)
                } else {
                    inner.replace("\\'", "'").into_bytes()
                });
                i += 1;
            }
            _ => {
                while i < bytes.len() && !bytes[i].is_ascii_whitespace() {
                    i += 1;
                }
                words.push(bytes[start..i].to_vec());
            }
        }
    }
}

/// A command as one would type it into redis-cli.
pub fn render_command(words: &[Vec<u8>]) -> String {
    let word = |w: &Vec<u8>| {
        let plain = !w.is_empty() && w.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
        if plain { String::from_utf8_lossy(w).into_owned() } else { quote(w) }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Reads the readable form of one reply back.
pub fn parse_text(text: &str) -> Result<Value, String> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut at = 0;
    let value = parse_lines(&lines, &mut at)?;
    if at != lines.len() {
        return Err(format!("more lines than the reply has: {}", lines[at]));
    }
    Ok(value)
}

fn parse_lines(lines: &[&str], at: &mut usize) -> Result<Value, String> {
    let line = *lines.get(*at).ok_or("the reply ends too early")?;
    *at += 1;
    let (Some(kind), rest) = (line.chars().next(), line.get(1..).unwrap_or("")) else {
        return Err("an empty line in a reply".to_string());
    };
    let unquote = |text: &str| -> Result<Vec<u8>, String> {
        let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        inner.map(unescape).ok_or(format!("a quoted string was expected: {line}"))
    };
    let mut children = |per: usize| -> Result<Vec<Value>, String> {
        let count: usize = rest.parse().map_err(|_| format!("a count was expected: {line}"))?;
        (0..count * per).map(|_| parse_lines(lines, at)).collect()
    };
    Ok(match (kind, rest) {
        ('+', text) => Value::Simple(unescape(text)),
        ('-', text) => Value::Error(unescape(text)),
        (':', n) => Value::Integer(n.parse().map_err(|_| format!("an integer was expected: {line}"))?),
        ('"', _) => Value::Bulk(unquote(line)?),
        ('$', "-1") => Value::NullBulk,
        ('*', "-1") => Value::NullArray,
        ('_', "") => Value::Null,
        ('*', _) => Value::Array(children(1)?),
        ('~', _) => Value::Set(children(1)?),
        ('>', _) => Value::Push(children(1)?),
        ('%', _) => Value::Map(children(2)?.chunks(2).map(|p| (p[0].clone(), p[1].clone())).collect()),
        (',', text) => Value::Double(unescape(text)),
        ('#', "t") => Value::Boolean(true),
        ('#', "f") => Value::Boolean(false),
        ('(', "closed)") => Value::Closed,
        ('(', text) => Value::BigNumber(unescape(text)),
        ('=', text) => Value::Verbatim(unquote(text)?),
        _ => return Err(format!("not a reply: {line}")),
    })
}

/// Glob match of a whole text: `*` any run, `?` any one, a backslash takes the next character as it is.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'\\'), Some(c)) if pattern.get(1) == Some(c) => glob(&pattern[2..], &text[1..]),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(p), Some(c)) if p == c && *p != b'\\' => glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

#[test]
fn the_readable_form_loses_nothing() {
    let bulk = |s: &[u8]| Value::Bulk(s.to_vec());
    let all = Value::Array(vec![
        Value::Simple(b"OK".to_vec()),
        Value::Error(b"ERR it's \"bad\" \\ \xff".to_vec()),
        Value::Integer(-3),
        bulk(b""),
        bulk(b"*2"),
        bulk(b"a\r\n\0\" \\b\x80"),
        Value::NullBulk,
        Value::NullArray,
        Value::Null,
        Value::Array(vec![]),
        Value::Map(vec![(bulk(b"k"), Value::Array(vec![bulk(b"v")]))]),
        Value::Set(vec![Value::Double(b"inf".to_vec()), Value::Boolean(true), Value::Boolean(false)]),
        Value::Push(vec![Value::BigNumber(b"12".to_vec()), Value::Verbatim(b"txt:a\nb".to_vec())]),
        Value::Closed,
    ]);
    assert_eq!(parse_text(&all.render()), Ok(all));
}

#[test]
fn words_are_split_as_redis_cli_does() {
    let words = split_words(r#"SET "a b\x00\"" 'it\'s' "" plain"#).unwrap();
    assert_eq!(
        words,
        [b"SET".to_vec(), b"a b\0\"".to_vec(), b"it's".to_vec(), b"".to_vec(), b"plain".to_vec()]
    );
    assert!(split_words("SET \"a").is_err());
    assert_eq!(split_words(&render_command(&words)).unwrap(), words);
}
