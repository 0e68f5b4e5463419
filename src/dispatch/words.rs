//! The words of a request as others may see them, in the slow log and by MONITOR: secrets are replaced. Pure functions, no locks.

use crate::resp::Args;
use smallvec::SmallVec;

/// What stands for a secret.
const HIDDEN: &[u8] = b"(redacted)";

/// Settings whose values are secrets.
const SECRET_SETTINGS: [&[u8]; 5] =
    [b"requirepass", b"masterauth", b"masteruser", b"tls-key-file-pass", b"tls-client-key-file-pass"];

/// The words of a request without its secrets; `command` is its whole name, as `config|set`. Nothing is copied: a request may be huge.
pub fn without_secrets<'a>(
    command: &str,
    args: Args<'a>,
) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
    let hidden = secret_places(command, args);
    args.iter().enumerate().map(move |(place, word)| if hidden.contains(&place) { HIDDEN } else { word })
}

/// Where secrets stand. As in Redis, what is no well-formed login is shown as it is.
fn secret_places(command: &str, args: Args<'_>) -> SmallVec<[usize; 2]> {
    let mut places = SmallVec::new();
    match command {
        "auth" if matches!(args.len(), 2 | 3) => places.extend(1..args.len()),
        "hello" => {
            let mut index = 2;
            while index < args.len() {
                let left = args.len() - index - 1;
                if args.at(index).eq_ignore_ascii_case(b"auth") && left >= 2 {
                    places.extend([index + 1, index + 2]);
                    index += 3;
                } else if args.at(index).eq_ignore_ascii_case(b"setname") && left >= 1 {
                    index += 2;
                } else {
                    break;
                }
            }
        }
        "config|set" => {
            let is_secret =
                |index: &usize| SECRET_SETTINGS.iter().any(|name| args.at(*index).eq_ignore_ascii_case(name));
            places.extend((2..args.len() - 1).step_by(2).filter(is_secret).map(|index| index + 1));
        }
        _ => {}
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let check = |command: &str, line: &str, shown: &str| {
            let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            let owned = OwnedArgs::from_slices(&words);
            let got: Vec<_> = without_secrets(command, owned.args()).map(String::from_utf8_lossy).collect();
            assert_eq!(got.join(" "), shown);
        };
        check("auth", "AUTH pw", "AUTH (redacted)");
        check("auth", "auth me pw", "auth (redacted) (redacted)");
        check("auth", "auth a b c", "auth a b c");
        check(
            "hello",
            "hello 3 setname auth auth me pw x",
            "hello 3 setname auth auth (redacted) (redacted) x",
        );
        check("hello", "hello 3 foo auth me pw", "hello 3 foo auth me pw");
        check("config|set", "config set port 1 REQUIREPASS pw", "config set port 1 REQUIREPASS (redacted)");
        check("config|set", "config set requirepass", "config set requirepass");
        check("get", "get auth", "get auth");
    }
}
