//! LOLWUT: a drawing, and the version.
//!
//! Redis draws another picture in each version, and `VERSION` asks for an older one; so here, `VERSION 5` and `VERSION 6` take a size as
//! theirs do, no version and 8 draw in the usual size, and any other only tells the version. The picture is ours: layers of ash
//! that lie on each other, and above them what is still falling. Each is another one, but stays the same when the command runs
//! again.

use crate::base::number::parse_i64;
use crate::base::random::Rng;
use crate::dispatch::spec::Flag::{Fast, ReadOnly};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome};
use crate::resp::{Args, Reply};

/// LOLWUT.
pub const COMMANDS: &[Command] = &family([Command::new("lolwut", lolwut)
    .arity(-1)
    .flags(&[ReadOnly, Fast])
    .group(Group::Server)
    .since("5.0.0")
    .complexity("")
    .summary("Draws something and tells the version.")
    .syntax("[VERSION version:int]")]);

const COLUMNS: usize = 66;
const ROWS: usize = 16;
/// A picture has no more columns or rows.
const SIDE_MAX: i64 = 200;
/// What the layers are drawn with, the lowest first.
const LAYERS: [char; 5] = ['█', '▓', '▒', '░', '∙'];

/// What is to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// Only the version.
    None,
    /// So many columns and rows.
    Layers(usize, usize),
}

/// Reads the version, and the size behind it where Redis reads one: `columns squares-per-row squares-per-column` of version 5,
/// `columns rows` of version 6.
fn picture(args: Args<'_>) -> Outcome<Picture> {
    if args.len() < 3 || !args.at(1).eq_ignore_ascii_case(b"version") {
        return Ok(Picture::Layers(COLUMNS, ROWS));
    }
    let number = |index: usize| parse_i64(args.at(index)).ok_or(Error::NotInteger);
    let sizes_max = match number(2)? {
        5 => 3,
        6 => 2,
        8 => 0,
        _ => return Ok(Picture::None),
    };
    let mut sizes = [COLUMNS as i64, ROWS as i64, 0];
    for (index, size) in (3..args.len()).zip(&mut sizes).take(sizes_max) {
        *size = number(index)?.clamp(1, SIDE_MAX);
    }
    Ok(Picture::Layers(sizes[0] as usize, sizes[1] as usize))
}

fn lolwut(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let version = crate::base::REDIS_VERSION;
    let text = match picture(call.args)? {
        Picture::None => format!("Redis ver. {version}\n"),
        Picture::Layers(columns, rows) => format!(
            "{}\nAsh falls, and what has fallen long enough is rock.\nTuff ver. {}, with the commands of Redis ver. {version}\n",
            draw(call.txn.rng(), columns, rows),
            env!("CARGO_PKG_VERSION"),
        ),
    };
    reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// Draws the layers. Each has the shape of the one below, with the hollows filled a little.
fn draw(rng: &mut Rng, columns: usize, rows: usize) -> String {
    let mut below = 1;
    let mut tops: Vec<Vec<usize>> = Vec::new();
    for layer in 1..=LAYERS.len() {
        let ground = rows * layer * 3 / (LAYERS.len() * 4);
        let mut height = ground.max(below);
        let mut top = Vec::with_capacity(columns);
        for column in 0..columns {
            match rng.below(5) {
                0 => height += 1,
                1 => height = height.saturating_sub(1),
                _ => {}
            }
            let least = tops.last().map_or(0, |top| top[column]);
            height = height.clamp(ground.saturating_sub(2).max(1), ground + 2);
            top.push(height.max(least));
        }
        below = ground;
        tops.push(top);
    }
    let mut picture = String::new();
    for row in (0..rows).rev() {
        for column in 0..columns {
            let layer = tops.iter().position(|top| row < top[column]);
            let falling = if rng.below(40) == 0 { '·' } else { ' ' };
            picture.push(layer.map_or(falling, |layer| LAYERS[layer]));
        }
        picture.push('\n');
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn asked(line: &str) -> Option<Picture> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        picture(OwnedArgs::from_slices(&words).args()).ok()
    }

    #[test]
    fn only_versions_5_and_6_take_a_size() {
        let usual = Some(Picture::Layers(COLUMNS, ROWS));
        for line in ["lolwut", "lolwut IT", "lolwut version", "lolwut version 8 x", "lolwut VERSION 5"] {
            assert_eq!(asked(line), usual, "{line}");
        }
        assert_eq!(asked("lolwut version 5 10 0 3 x"), Some(Picture::Layers(10, 1)));
        assert_eq!(asked("lolwut version 6 9999999 7"), Some(Picture::Layers(200, 7)));
        assert_eq!(asked("lolwut version 99 x"), Some(Picture::None));
        for wrong in
            ["lolwut version x", "lolwut version 5 x", "lolwut version 6 1 x", "lolwut version 5 1 1 x"]
        {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_picture_has_the_size_asked_for_and_rests_on_its_lowest_layer() {
        for (columns, rows) in [(1, 1), (66, 16), (200, 200), (3, 40)] {
            let picture = draw(&mut Rng::new(1), columns, rows);
            assert_eq!(picture.lines().count(), rows);
            assert!(picture.lines().all(|line| line.chars().count() == columns));
        }
        for seed in 0..100 {
            let picture = draw(&mut Rng::new(seed), 66, 16);
            assert!(picture.lines().last().unwrap().chars().all(|c| c == LAYERS[0]), "{picture}");
        }
    }
}
