//! Commands as templates, made ready once so that sending one is copying pieces.
//!
//! `HSET {key}:h {field} {value}` is split into words; `;` alone is the border between two commands that are sent together as one
//! request. What does not change (lengths, line ends, fixed words) becomes one literal piece, for placeholders other than
//! `{value}` and `{scan}` have a fixed width. Those two have not, and must be words of their own. Within a request `{key}` is
//! one key, however often it is named.

use super::keys::Picker;
use super::values::Values;
use crate::base::random::Rng;

/// Digits of key numbers.
pub const NUMBER_DIGITS: usize = 12;
/// Digits of field numbers; a field is `field:` and these.
const FIELD_DIGITS: usize = 6;
const FIELD_PREFIX: &[u8] = b"field:";
/// A scan asks for 1 to this many elements.
const SCAN_MAX: u64 = 100;

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// The request's key: prefix and number.
    Key,
    /// A key drawn just for this place.
    Another,
    /// A key that nobody has had.
    New,
    /// The number of the request's key.
    Number,
    /// The number of the request's new key.
    NewNumber,
    /// A random field name.
    Field,
    /// A random number of a fixed width, good as a score.
    Random,
    /// A value, with its length before it.
    Value,
    /// How many elements to scan, with its length before it.
    Scan,
}

/// What placeholders need to be filled in.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What key names begin with.
    pub key_prefix: Vec<u8>,
    /// Different fields.
    pub fields: u64,
    /// Lengths and bytes of values.
    pub values: Values,
}

/// A request that can be written again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    replies: u32,
    draws_key: bool,
    inserts: bool,
}

impl Template {
    /// Reads `text`; an error says what is wrong with it.
    pub fn new(text: &str, shape: &Shape) -> Result<Template, String> {
        let mut template = Template { pieces: Vec::new(), replies: 0, draws_key: false, inserts: false };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        for command in words.split(|word| *word == ";") {
            if command.is_empty() {
                return Err(format!("{text:?} has an empty command"));
            }
            template.literal(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                template.word(word, shape)?;
            }
            template.replies += 1;
        }
        Ok(template)
    }

    /// Replies that answer one request, at least 1.
    pub fn replies(&self) -> u32 {
        self.replies
    }

    /// Appends one request.
    pub fn write(&self, shape: &Shape, picker: &mut Picker<'_>, rng: &mut Rng, out: &mut Vec<u8>) {
        let number = if self.draws_key { picker.pick(rng) } else { 0 };
        let new = if self.inserts { picker.insert() } else { 0 };
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Key => write_key(shape, number, out),
                Piece::Another => write_key(shape, picker.pick(rng), out),
                Piece::New => write_key(shape, new, out),
                Piece::Number => write_digits::<NUMBER_DIGITS>(number, out),
                Piece::NewNumber => write_digits::<NUMBER_DIGITS>(new, out),
                Piece::Random => write_digits::<NUMBER_DIGITS>(rng.next_u64() >> 32, out),
                Piece::Field => {
                    out.extend_from_slice(FIELD_PREFIX);
                    write_digits::<FIELD_DIGITS>(rng.below(shape.fields), out);
                }
                Piece::Value => {
                    let len = shape.values.len(rng);
                    write_length(len as u64, out);
                    shape.values.write(len, rng, out);
                    out.extend_from_slice(b"\r\n");
                }
                Piece::Scan => {
                    let count = rng.below(SCAN_MAX) + 1;
                    write_length(
                        if count < 10 {
                            1
                        } else if count < 100 {
                            2
                        } else {
                            3
                        },
                        out,
                    );
                    write_number(count, out);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    fn word(&mut self, word: &str, shape: &Shape) -> Result<(), String> {
        if let "{value}" | "{scan}" = word {
            self.pieces.push(if word == "{value}" { Piece::Value } else { Piece::Scan });
            return Ok(());
        }
        let (mut parts, mut len, mut rest) = (Vec::new(), 0, word);
        while let Some(start) = rest.find('{') {
            let end = rest[start..].find('}').ok_or_else(|| format!("a brace is not closed in {word:?}"))?;
            let (piece, width) = self.placeholder(&rest[start + 1..start + end], word, shape)?;
            parts.push(Piece::Literal(rest.as_bytes()[..start].to_vec()));
            parts.push(piece);
            len += start + width;
            rest = &rest[start + end + 1..];
        }
        len += rest.len();
        parts.push(Piece::Literal(rest.as_bytes().to_vec()));
        self.literal(format!("${len}\r\n").as_bytes());
        for part in parts {
            match part {
                Piece::Literal(bytes) => self.literal(&bytes),
                piece => self.pieces.push(piece),
            }
        }
        self.literal(b"\r\n");
        Ok(())
    }

    /// The piece a placeholder stands for, and its width in bytes.
    fn placeholder(&mut self, name: &str, word: &str, shape: &Shape) -> Result<(Piece, usize), String> {
        let key_width = shape.key_prefix.len() + NUMBER_DIGITS;
        self.draws_key |= matches!(name, "key" | "number");
        self.inserts |= matches!(name, "new" | "newnumber");
        Ok(match name {
            "key" => (Piece::Key, key_width),
            "another" => (Piece::Another, key_width),
            "new" => (Piece::New, key_width),
            "number" => (Piece::Number, NUMBER_DIGITS),
            "newnumber" => (Piece::NewNumber, NUMBER_DIGITS),
            "random" => (Piece::Random, NUMBER_DIGITS),
            "field" => (Piece::Field, FIELD_PREFIX.len() + FIELD_DIGITS),
            "value" | "scan" => {
                return Err(format!("{{{name}}} must be a word of its own, unlike in {word:?}"));
            }
            _ => return Err(format!("{{{name}}} is not a placeholder")),
        })
    }

    fn literal(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(literal)) => literal.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push(Piece::Literal(bytes.to_vec())),
        }
    }
}

/// The name of a key: the prefix and its number in twelve digits.
pub fn write_key(shape: &Shape, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&shape.key_prefix);
    write_digits::<NUMBER_DIGITS>(number, out);
}

fn write_digits<const DIGITS: usize>(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

fn write_length(len: u64, out: &mut Vec<u8>) {
    out.push(b'$');
    write_number(len, out);
    out.extend_from_slice(b"\r\n");
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Counters, Pattern};
    use super::super::values::Sizes;
    use super::*;

    fn shape() -> Shape {
        let sizes = Sizes { bytes_min: 3, bytes_max: 3 };
        Shape { key_prefix: b"k:".to_vec(), fields: 1, values: Values { sizes, random_percent: 0 } }
    }

    fn written(text: &str, requests: usize) -> String {
        let counters = Counters { newest: 7.into(), ..Counters::default() };
        let mut picker = Picker::new(Pattern::Sequential, 100, &counters);
        let template = Template::new(text, &shape()).unwrap();
        let mut out = Vec::new();
        (0..requests).for_each(|_| template.write(&shape(), &mut picker, &mut Rng::new(1), &mut out));
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn a_template_becomes_a_request_with_right_lengths() {
        assert_eq!(written("PING", 1), "*1 $4 PING ");
        assert_eq!(
            written("SET {key} {value}", 2),
            "*3 $3 SET $14 k:000000000000 $3 xxx *3 $3 SET $14 k:000000000001 $3 xxx "
        );
        assert_eq!(
            written("HSET a{key}:h {field} {newnumber}", 1),
            "*4 $4 HSET $17 ak:000000000000:h $12 field:000000 $12 000000000007 "
        );
    }

    #[test]
    fn one_request_names_one_key_and_may_be_many_commands() {
        assert_eq!(
            written("GET {key} ; GET {key}", 1),
            "*2 $3 GET $14 k:000000000000 *2 $3 GET $14 k:000000000000 "
        );
        assert_eq!(
            written("GET {another} ; GET {another}", 1),
            "*2 $3 GET $14 k:000000000000 *2 $3 GET $14 k:000000000001 "
        );
        assert_eq!(Template::new("GET {key} ; GET {key}", &shape()).unwrap().replies(), 2);
    }

    #[test]
    fn scans_are_of_one_to_a_hundred_elements() {
        let text = written("X {scan}", 1);
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[3], format!("${}", words[4].len()));
        assert!((1..=100).contains(&words[4].parse::<u64>().unwrap()));
    }

    #[test]
    fn wrong_templates_are_refused() {
        for wrong in ["", "GET {key", "GET {nothing}", "SET k a{value}", "GET {key} ;", "; PING"] {
            assert!(Template::new(wrong, &shape()).is_err(), "{wrong}");
        }
    }
}
