//! What is answered to a command that there is not, in Redis' words. Pure functions.

use super::table::Unknown;
use crate::resp::Args;

/// Bytes of a word that an error shows, and of all the words it shows.
const SHOWN_BYTES_MAX: usize = 128;

/// Redis shows words as C strings: they end at a zero byte.
fn shown(word: &[u8], bytes_max: usize) -> &[u8] {
    let end = word.iter().take(bytes_max).position(|&byte| byte == 0);
    word.get(..end.unwrap_or(word.len().min(bytes_max))).unwrap_or_default()
}

/// The error, code first.
pub(super) fn unknown_text(unknown: Unknown, args: Args<'_>) -> Vec<u8> {
    let first = shown(args.at(0), SHOWN_BYTES_MAX);
    match unknown {
        Unknown::Subcommand => {
            let command = first.to_ascii_uppercase();
            let sub = shown(args.at(1), SHOWN_BYTES_MAX);
            [b"ERR unknown subcommand '", sub, b"'. Try ", &command, b" HELP."].concat()
        }
        Unknown::Command => {
            let mut rest = Vec::new();
            for word in args.iter().skip(1) {
                if rest.len() >= SHOWN_BYTES_MAX {
                    break;
                }
                let room = SHOWN_BYTES_MAX - rest.len();
                rest.extend([b"'", shown(word, room), b"' "].concat());
            }
            [b"ERR unknown command '", first, b"', with args beginning with: ", &rest].concat()
        }
    }
}
