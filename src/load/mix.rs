//! What is sent: the table of ready commands, the six YCSB workloads, ratios of either, and what fills a server before.
//!
//! Each type has keys of its own (`key:...:h` for hashes), so that any mix runs on one key space without WRONGTYPE. Records of YCSB are
//! strings, or hashes of ten fields as in YCSB's own Redis client. Its E (short scans) needs an order of keys, which Redis has
//! only in a sorted set: like that client, an insert adds the key to one, and a scan is ZRANGE BYSCORE from a key on; unlike there, the
//! records found are not fetched, for a pipeline cannot know them. F's read-modify-write is a GET and a SET in one request.

use super::keys::Pattern;
use super::template::{Shape, Template};
use crate::base::random::Rng;

/// Ready commands for `--mix`.
pub const COMMANDS: &[(&str, &str)] = &[
    ("ping", "PING"),
    ("get", "GET {key}"),
    ("set", "SET {key} {value}"),
    ("setex", "SETEX {key} 60 {value}"),
    ("del", "DEL {key}"),
    ("exists", "EXISTS {key}"),
    ("expire", "EXPIRE {key} 60"),
    (
        "mget",
        "MGET {another} {another} {another} {another} {another} {another} {another} {another} {another} {another}",
    ),
    (
        "mset",
        "MSET {another} {value} {another} {value} {another} {value} {another} {value} {another} {value}",
    ),
    ("incr", "INCR {key}:n"),
    ("hset", "HSET {key}:h {field} {value}"),
    ("hget", "HGET {key}:h {field}"),
    ("hgetall", "HGETALL {key}:h"),
    ("hdel", "HDEL {key}:h {field}"),
    ("hincrby", "HINCRBY {key}:hn {field} 1"),
    ("lpush", "LPUSH {key}:l {value}"),
    ("rpush", "RPUSH {key}:l {value}"),
    ("lpop", "LPOP {key}:l"),
    ("rpop", "RPOP {key}:l"),
    ("lrange", "LRANGE {key}:l 0 99"),
    ("llen", "LLEN {key}:l"),
    ("sadd", "SADD {key}:s {field}"),
    ("srem", "SREM {key}:s {field}"),
    ("sismember", "SISMEMBER {key}:s {field}"),
    ("smembers", "SMEMBERS {key}:s"),
    ("spop", "SPOP {key}:s"),
    ("zadd", "ZADD {key}:z {random} {field}"),
    ("zincrby", "ZINCRBY {key}:z 1 {field}"),
    ("zscore", "ZSCORE {key}:z {field}"),
    ("zrank", "ZRANK {key}:z {field}"),
    ("zrange", "ZRANGE {key}:z 0 99"),
    ("zrem", "ZREM {key}:z {field}"),
    ("multi", "MULTI ; INCR {key}:n ; INCR {another}:n ; EXEC"),
];

/// Fields of a YCSB record that is a hash.
const RECORD_FIELDS: usize = 10;

/// Commands by weight.
pub struct Mix {
    /// Each command's name and template.
    pub commands: Vec<(String, Template)>,
    /// The sums of the weights up to each command.
    ends: Vec<u64>,
}

impl Mix {
    /// `entries` are names, templates and weights; at least one weight must not be 0.
    pub fn new(entries: Vec<(String, String, u64)>, shape: &Shape) -> Result<Mix, String> {
        let mut mix = Mix { commands: Vec::new(), ends: Vec::new() };
        let mut end = 0;
        for (name, text, weight) in entries {
            mix.commands.push((name, Template::new(&text, shape)?));
            end += weight;
            mix.ends.push(end);
        }
        match end {
            0 => Err("nothing to send: all weights are 0".to_string()),
            _ if mix.commands.len() > usize::from(u16::MAX) => Err("too many commands".to_string()),
            _ => Ok(mix),
        }
    }

    /// The index of the next command.
    pub fn pick(&self, rng: &mut Rng) -> usize {
        if self.ends.len() == 1 {
            return 0;
        }
        let draw = rng.below(self.ends.last().copied().unwrap_or(1));
        self.ends.iter().position(|end| draw < *end).unwrap_or(0)
    }
}

/// Reads `get=80,set=20`.
pub fn ratios(text: &str) -> Result<Vec<(String, String, u64)>, String> {
    text.split(',')
        .map(|part| {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let (_, template) = COMMANDS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
                format!("{name:?} is not one of {} (for others there is --command)", known.join(", "))
            })?;
            let weight: u32 = weight.parse().map_err(|_| format!("{weight:?} is not a weight"))?;
            Ok((name.to_string(), (*template).to_string(), u64::from(weight)))
        })
        .collect()
}

/// What YCSB records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Records {
    /// One string each.
    Strings,
    /// Hashes of ten fields, of which an update changes one.
    Hashes,
}

/// The six workloads of YCSB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "upper")]
pub enum Ycsb {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads.
    C,
    /// 95 % reads of the latest, 5 % inserts.
    D,
    /// 95 % short scans, 5 % inserts.
    E,
    /// Half reads, half read-modify-writes.
    F,
}

impl Ycsb {
    /// The workload's commands and weights.
    pub fn entries(self, records: Records, key_prefix: &str) -> Vec<(String, String, u64)> {
        let (read, update) = match records {
            Records::Strings => ("GET {key}", "SET {key} {value}"),
            Records::Hashes => ("HGETALL {key}", "HSET {key} {field} {value}"),
        };
        let insert = match self {
            Ycsb::E => format!("{} ; ZADD {key_prefix}index {{newnumber}} {{new}}", record(records, "{new}")),
            _ => record(records, "{new}"),
        };
        let scan = format!("ZRANGE {key_prefix}index {{number}} +inf BYSCORE LIMIT 0 {{scan}}");
        let both = format!("{read} ; {update}");
        let entry = |name: &str, text: &str, weight| (name.to_string(), text.to_string(), weight);
        match self {
            Ycsb::A => vec![entry("read", read, 50), entry("update", update, 50)],
            Ycsb::B => vec![entry("read", read, 95), entry("update", update, 5)],
            Ycsb::C => vec![entry("read", read, 1)],
            Ycsb::D => vec![entry("read", read, 95), entry("insert", &insert, 5)],
            Ycsb::E => vec![entry("scan", &scan, 95), entry("insert", &insert, 5)],
            Ycsb::F => vec![entry("read", read, 50), entry("read-modify-write", &both, 50)],
        }
    }

    /// The pattern of YCSB's own definition of the workload.
    pub fn pattern(self, theta: f64) -> Pattern {
        match self {
            Ycsb::D => Pattern::Latest { theta },
            _ => Pattern::Zipf { theta, scrambled: true },
        }
    }

    /// What loads one record.
    pub fn load(self, records: Records, key_prefix: &str) -> String {
        let record = record(records, "{key}");
        match self {
            Ycsb::E => format!("{record} ; ZADD {key_prefix}index {{number}} {{key}}"),
            _ => record,
        }
    }
}

/// The command that writes a whole record.
pub fn record(records: Records, key: &str) -> String {
    match records {
        Records::Strings => format!("SET {key} {{value}}"),
        Records::Hashes => {
            let fields: Vec<String> = (0..RECORD_FIELDS).map(|n| format!("field:{n:06} {{value}}")).collect();
            format!("HSET {key} {}", fields.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::{Sizes, Values};
    use super::*;

    fn shape() -> Shape {
        let sizes = Sizes { bytes_min: 3, bytes_max: 3 };
        Shape { key_prefix: b"key:".to_vec(), fields: 10, values: Values { sizes, random_percent: 100 } }
    }

    #[test]
    fn every_ready_command_and_workload_is_a_good_template() {
        for (name, text) in COMMANDS {
            assert!(Template::new(text, &shape()).is_ok(), "{name}");
        }
        for workload in [Ycsb::A, Ycsb::B, Ycsb::C, Ycsb::D, Ycsb::E, Ycsb::F] {
            for records in [Records::Strings, Records::Hashes] {
                assert!(Mix::new(workload.entries(records, "key:"), &shape()).is_ok());
                assert!(Template::new(&workload.load(records, "key:"), &shape()).is_ok());
            }
        }
    }

    #[test]
    fn commands_come_as_often_as_their_weights_say() {
        let mix = Mix::new(ratios("get=70,set=30,del=0").unwrap(), &shape()).unwrap();
        let (mut rng, mut seen) = (Rng::new(1), [0; 3]);
        (0..10_000).for_each(|_| seen[mix.pick(&mut rng)] += 1);
        assert!((6_800..7_200).contains(&seen[0]) && seen[2] == 0, "{seen:?}");
    }

    #[test]
    fn wrong_mixes_are_refused() {
        for wrong in ["gat=1", "get=x", "get=-1", ""] {
            assert!(ratios(wrong).is_err(), "{wrong}");
        }
        assert!(Mix::new(ratios("get=0").unwrap(), &shape()).is_err());
    }
}
