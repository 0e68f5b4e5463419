//! From text to a directive's value and back, with Redis' reasons for what does not fit.
//!
//! Pure functions over `Directive` and `Value`. `show` is what CONFIG GET prints; `write` is a line of a file that reads back
//! as the same value.

use super::directive::{Directive, Kind, Value};
use crate::base::number::{parse_i64, parse_memory};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Reads the words that follow a directive's name. `present` is its value so far, which some lists add to.
pub fn read(directive: &Directive, words: &[&str], present: &Value) -> Result<Value, Cow<'static, str>> {
    if let Kind::List { read, .. } = directive.kind {
        let words: Vec<&str> = match words {
            [""] => Vec::new(),
            [several] => several.split(' ').collect(),
            words => words.to_vec(),
        };
        let present = if let Value::Text(text) = present { text.as_str() } else { "" };
        return Ok(Value::Text(read(&words, present)?));
    }
    match words {
        [word] => read_one(directive, word),
        _ => Err("wrong number of arguments".into()),
    }
}

fn read_one(directive: &Directive, word: &str) -> Result<Value, Cow<'static, str>> {
    match directive.kind {
        Kind::YesNo(_) if word.eq_ignore_ascii_case("yes") => Ok(Value::Number(1)),
        Kind::YesNo(_) if word.eq_ignore_ascii_case("no") => Ok(Value::Number(0)),
        Kind::YesNo(_) => Err("argument must be 'yes' or 'no'".into()),
        Kind::Integer { min, max, unsigned, clamp, .. } => {
            let number = parse_i64(word.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
            check_range(number, min, max, unsigned)?;
            Ok(Value::Number(clamp.map_or(number, |(least, most)| number.clamp(least, most))))
        }
        Kind::Octal(_) => {
            let number =
                i64::from_str_radix(word, 8).map_err(|_| "argument couldn't be parsed as an octal number")?;
            if number < 0 {
                return Err("argument must be greater or equal to 0".into());
            }
            if number > 0o777 {
                return Err("argument must be between 0 and 777 inclusive".into());
            }
            Ok(Value::Number(number))
        }
        Kind::Memory { min, max, unsigned, .. } => {
            let bytes = parse_memory(word.as_bytes()).ok_or("argument must be a memory value")?;
            // What does not fit becomes negative, as in Redis.
            check_range(bytes as i64, min, max, unsigned)?;
            Ok(Value::Number(bytes as i64))
        }
        Kind::MemoryOrPercent(_) => read_memory_or_percent(word),
        Kind::Choice { names, .. } => match names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            Some(place) => Ok(Value::Number(place as i64)),
            None => Err(format!("argument(s) must be one of the following: {}", names.join(", ")).into()),
        },
        Kind::Text { read, .. } => Ok(Value::Text(read(word)?)),
        Kind::List { .. } | Kind::Line(_) => Err("wrong number of arguments".into()),
    }
}

fn check_range(number: i64, min: i64, max: i64, unsigned: bool) -> Result<(), Cow<'static, str>> {
    if unsigned && number < 0 {
        return Err("argument must be greater or equal to 0".into());
    }
    if !(min..=max).contains(&number) {
        return Err(format!("argument must be between {min} and {max} inclusive").into());
    }
    Ok(())
}

fn read_memory_or_percent(word: &str) -> Result<Value, Cow<'static, str>> {
    const BAD: &str = "argument must be a memory or percent value";
    if let Some(percent) = word.strip_suffix('%') {
        let percent = parse_i64(percent.as_bytes()).filter(|&percent| percent >= 0).ok_or(BAD)?;
        if percent > 100 {
            return Err("percentage argument must be less or equal to 100".into());
        }
        return Ok(Value::Number(-percent));
    }
    let bytes = parse_memory(word.as_bytes()).and_then(|bytes| i64::try_from(bytes).ok()).ok_or(BAD)?;
    Ok(Value::Number(bytes))
}

/// The value as CONFIG GET prints it.
pub fn show(directive: &Directive, value: &Value) -> String {
    match (directive.kind, value) {
        (_, Value::Text(text)) => text.clone(),
        (Kind::YesNo(_), Value::Number(number)) => if *number != 0 { "yes" } else { "no" }.to_owned(),
        (Kind::Octal(_), Value::Number(number)) => format!("{number:o}"),
        (Kind::MemoryOrPercent(_), Value::Number(number)) if *number < 0 => format!("{}%", -number),
        (Kind::Choice { names, .. }, Value::Number(number)) => {
            let place = usize::try_from(*number).unwrap_or(0);
            names.get(place).copied().unwrap_or_default().to_owned()
        }
        (_, Value::Number(number)) => number.to_string(),
    }
}

/// The lines of a file that set this value.
pub fn write(directive: &Directive, value: &Value) -> Vec<String> {
    let name = directive.name;
    match (directive.kind, value) {
        (Kind::Memory { .. } | Kind::MemoryOrPercent(_), Value::Number(bytes)) if *bytes > 0 => {
            vec![format!("{name} {}", write_bytes(*bytes))]
        }
        (Kind::List { line_words: line_words @ 1.., .. }, Value::Text(text)) if !text.is_empty() => {
            let words: Vec<&str> = text.split(' ').collect();
            words.chunks(line_words).map(|group| format!("{name} {}", group.join(" "))).collect()
        }
        (Kind::List { .. }, Value::Text(text)) if !text.is_empty() => vec![format!("{name} {text}")],
        // No line can set what only the lack of a line means.
        (Kind::List { read, .. }, Value::Text(_)) if read(&[], "").is_err() => Vec::new(),
        (_, Value::Text(text)) => vec![format!("{name} {}", quote_if_needed(text))],
        _ => vec![format!("{name} {}", show(directive, value))],
    }
}

fn write_bytes(bytes: i64) -> String {
    for (unit, factor) in [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if bytes % factor == 0 {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

fn quote_if_needed(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,*@%+=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text.to_owned() } else { quote(text) }
}

/// The text in double quotes, so that `file::split_words` reads it back.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_ascii_control() => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::directive::{
        choice, memory, memory_or_percent, octal, signed_memory, unsigned, yes_no,
    };
    use super::*;

    fn said(directive: &Directive, word: &str) -> String {
        match read(directive, &[word], &directive.default()) {
            Ok(value) => show(directive, &value),
            Err(reason) => format!("! {reason}"),
        }
    }

    #[test]
    fn values_are_read_and_refused_in_the_words_of_redis() {
        let cases = [
            (yes_no("x", true), "NO", "no"),
            (yes_no("x", true), "1", "! argument must be 'yes' or 'no'"),
            (unsigned("x", 1, 1, 9), "0", "! argument must be between 1 and 9 inclusive"),
            (unsigned("x", 1, 1, 9), "-1", "! argument must be greater or equal to 0"),
            (unsigned("x", 1, 1, 9), "1.5", "! argument couldn't be parsed into an integer"),
            (unsigned("hz", 1, 0, 900).clamped(1, 500), "501", "500"),
            (memory("x", 0, 0), "1gb", "1073741824"),
            (memory("x", 0, 0), "-1", "! argument must be a memory value"),
            (memory("x", 0, 0), "18446744073709551615", "! argument must be greater or equal to 0"),
            (signed_memory("x", 9, 1), "0", "! argument must be between 1 and 9223372036854775807 inclusive"),
            (memory_or_percent("x", 0), "10%", "10%"),
            (memory_or_percent("x", 0), "101%", "! percentage argument must be less or equal to 100"),
            (memory_or_percent("x", 0), "1.5%", "! argument must be a memory or percent value"),
            (octal("x", 0), "700", "700"),
            (octal("x", 0), "8", "! argument couldn't be parsed as an octal number"),
            (octal("x", 0), "1777", "! argument must be between 0 and 777 inclusive"),
            (choice("x", &["a", "b"], 0), "B", "b"),
            (choice("x", &["a", "b"], 0), "c", "! argument(s) must be one of the following: a, b"),
        ];
        for (directive, word, answer) in cases {
            assert_eq!(said(&directive, word), answer, "{word}");
        }
        let maxmemory = memory("x", 0, 0);
        assert_eq!(read(&maxmemory, &["1", "2"], &Value::Number(0)), Err("wrong number of arguments".into()));
    }
}
