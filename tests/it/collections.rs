//! Collections and databases too big for one value or one page: what transcripts are too short for.
//!
//! Each test keeps a model in memory beside the server. On Tuff, memory is emptied (`DEBUG CHILL`) now and then, so that rows
//! are read from files as well.

use crate::chance::{Chance, seed};
use crate::client::{Client, encode};
use crate::server::{Program, Server, durable_options};
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A server, a connection, and whether memory can be emptied.
struct Table {
    server: Server,
    client: Client,
}

impl Table {
    fn new(options: &[&str]) -> Table {
        let mut all = vec!["--enable-debug-command", "yes"];
        all.extend(options);
        let server = Server::tuff(&all);
        let client = server.client();
        Table { server, client }
    }

    fn chill(&mut self) {
        if self.server.program() == Program::Tuff {
            self.client.ok("DEBUG CHILL");
        }
    }

    /// Sends all commands in one go; the replies must be no errors.
    fn pipeline(&mut self, commands: &[Vec<String>]) -> Vec<Value> {
        let mut request = Vec::new();
        commands.iter().for_each(|command| encode(command, &mut request));
        self.client.send_raw(&request).unwrap();
        let replies: Vec<Value> = commands.iter().map(|_| self.client.read()).collect();
        for (command, reply) in commands.iter().zip(&replies) {
            assert!(!matches!(reply, Value::Error(_) | Value::Closed), "{command:?}: {}", reply.render());
        }
        replies
    }

    /// Everything an iteration gives, in pages of about `count`; `between` runs after each page.
    fn scan(&mut self, start: &str, count: usize, mut between: impl FnMut(&mut Client)) -> Vec<String> {
        let mut all = Vec::new();
        let mut cursor = "0".to_string();
        for _ in 0..100_000 {
            let page = self.client.run(&format!("{start}{cursor} COUNT {count}")).items();
            all.extend(texts(&page[1]));
            cursor = page[0].text();
            if cursor == "0" {
                return all;
            }
            assert!(
                cursor.parse::<u64>().is_ok_and(|c| c < 1 << 53) || self.server.program() == Program::Oracle
            );
            between(&mut self.client);
        }
        panic!("{start} does not end");
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.items().iter().map(Value::text).collect()
}

fn repeatable_chance() -> Chance {
    let seed = seed();
    eprintln!("TUFF_SEED={seed}");
    Chance::new(seed)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_string).collect()
}

fn as_map(flat: &[String]) -> BTreeMap<String, String> {
    flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Compares a hash with its model in every way it can be read whole.
fn check_hash(table: &mut Table, key: &str, model: &BTreeMap<String, String>) {
    assert_eq!(table.client.run(&format!("HLEN {key}")).integer(), model.len() as i64, "{key}");
    let flat = texts(&table.client.run(&format!("HGETALL {key}")));
    assert_eq!(flat.len(), 2 * model.len(), "{key}: a field comes once");
    assert_eq!(as_map(&flat), *model, "{key}");
    let scanned = table.scan(&format!("HSCAN {key} "), 50, |_| ());
    assert_eq!(as_map(&scanned), *model, "{key}");
    let fields: BTreeSet<String> = texts(&table.client.run(&format!("HKEYS {key}"))).into_iter().collect();
    assert!(fields.iter().eq(model.keys()), "{key}");
    let mut values = texts(&table.client.run(&format!("HVALS {key}")));
    let mut expected: Vec<String> = model.values().cloned().collect();
    values.sort();
    expected.sort();
    assert_eq!(values, expected, "{key}");
}

#[test]
fn a_big_hash_is_what_was_put_into_it() {
    for options in [&[][..], &durable_options()[..]] {
        let mut table = Table::new(options);
        let mut chance = repeatable_chance();
        let mut model = BTreeMap::new();
        for round in 0..6 {
            let mut commands = Vec::new();
            for _ in 0..1500 {
                let field = format!("field:{}", chance.below(3000));
                if chance.one_in(4) {
                    model.remove(&field);
                    commands.push(words(&format!("HDEL h {field}")));
                } else {
                    let value = format!("{round}:{}", "v".repeat(chance.below(60) as usize));
                    commands.push(words(&format!("HSET h {field} {value}")));
                    model.insert(field, value);
                }
            }
            table.pipeline(&commands);
            if round % 2 == 0 {
                table.chill();
            }
            check_hash(&mut table, "h", &model);
            if round == 3 && !options.is_empty() {
                table.server.start_again();
                table.client = table.server.client();
                check_hash(&mut table, "h", &model);
            }
        }

        // Copied, renamed, moved; and what is deleted does not come back under the same name.
        assert_eq!(table.client.run("COPY h copied").integer(), 1);
        table.client.ok("RENAME h renamed");
        assert_eq!(table.client.run("HSET h new 1").integer(), 1);
        check_hash(&mut table, "h", &BTreeMap::from([("new".to_string(), "1".to_string())]));
        check_hash(&mut table, "copied", &model);
        assert_eq!(table.client.run("DEL copied").integer(), 1);
        assert_eq!(table.client.run("HSET copied new 1").integer(), 1);
        check_hash(&mut table, "copied", &BTreeMap::from([("new".to_string(), "1".to_string())]));
        table.chill();
        check_hash(&mut table, "renamed", &model);
        assert_eq!(table.client.run("MOVE renamed 5").integer(), 1);
        table.client.ok("SELECT 5");
        check_hash(&mut table, "renamed", &model);
        let fields: Vec<String> = model.into_keys().collect();
        for some in fields.chunks(500) {
            let command: Vec<String> =
                words("HDEL renamed").into_iter().chain(some.iter().cloned()).collect();
            assert_eq!(table.client.call(&command).integer(), some.len() as i64);
        }
        assert_eq!(table.client.run("EXISTS renamed").integer(), 0);
        assert_eq!(table.client.run("DBSIZE").integer(), 0);
    }
}

#[test]
fn a_big_list_is_a_double_ended_queue() {
    let mut table = Table::new(&[]);
    let mut chance = repeatable_chance();
    let mut model: VecDeque<String> = VecDeque::new();
    for round in 0..300 {
        let (left, count) = (chance.one_in(2), 1 + chance.below(60) as usize);
        // It grows, then shrinks to nothing, over and over.
        if round % 100 < 60 {
            let items: Vec<String> =
                (0..count).map(|i| format!("{round}:{i}:{}", "x".repeat(i % 40))).collect();
            let name = if left { "LPUSH l" } else { "RPUSH l" };
            let command: Vec<String> = words(name).into_iter().chain(items.iter().cloned()).collect();
            for item in items {
                if left { model.push_front(item) } else { model.push_back(item) }
            }
            assert_eq!(table.client.call(&command).integer(), model.len() as i64);
        } else {
            let reply = table.client.run(&format!("{} l {count}", if left { "LPOP" } else { "RPOP" }));
            let expected: Vec<String> = (0..count.min(model.len()))
                .filter_map(|_| if left { model.pop_front() } else { model.pop_back() })
                .collect();
            let popped = if reply == Value::NullArray { Vec::new() } else { texts(&reply) };
            assert_eq!(popped, expected);
        }
        if round % 40 == 0 {
            table.chill();
        }
        let (from, to) = (chance.below(1500) as usize, chance.below(1500) as usize);
        let got = texts(&table.client.run(&format!("LRANGE l {from} {to}")));
        let expected: Vec<String> = model.iter().take(to + 1).skip(from).cloned().collect();
        assert_eq!(got, expected, "LRANGE l {from} {to}");
    }
    assert_eq!(table.client.run("EXISTS l").integer(), i64::from(!model.is_empty()));
}

#[test]
fn a_big_list_is_changed_in_its_midst() {
    let mut table = Table::new(&[]);
    let mut chance = repeatable_chance();
    let mut model: Vec<String> = (0..12_000).map(|n| format!("element:{n}")).collect();
    for chunk in model.chunks(3_000) {
        let command: Vec<String> = words("RPUSH l").into_iter().chain(chunk.iter().cloned()).collect();
        table.client.call(&command);
    }
    // Looking for an element that lies deep takes the pool; one near the front is found by a worker.
    let near_or_far = |chance: &mut Chance, len: usize| {
        let reach = if chance.one_in(3) { len } else { 40 };
        chance.below(reach as u64) as usize
    };
    for round in 0..400 {
        let at = near_or_far(&mut chance, model.len());
        let (element, new) = (model[at].clone(), format!("new:{round}"));
        match chance.below(7) {
            0..=1 => {
                let side = *chance.pick(&["BEFORE", "AFTER"]);
                let reply = table.client.run(&format!("LINSERT l {side} {element} {new}"));
                model.insert(at + usize::from(side == "AFTER"), new);
                assert_eq!(reply.integer(), model.len() as i64);
            }
            2 => {
                let count = *chance.pick(&["1", "-1", "0"]);
                assert_eq!(table.client.run(&format!("LREM l {count} {element}")).integer(), 1);
                model.remove(at);
            }
            3 => {
                table.client.ok(&format!("LSET l {at} {new}"));
                model[at] = new;
            }
            4 => {
                let len = model.len();
                assert_eq!(table.client.run(&format!("LINDEX l -{}", len - at)).text(), element);
                assert_eq!(table.client.run(&format!("LPOS l {element} RANK -1")).integer(), at as i64);
            }
            5 => {
                let (front, back) = (chance.below(3) as usize, chance.below(5) as usize);
                table.client.ok(&format!("LTRIM l {front} -{}", back + 1));
                model.truncate(model.len() - back);
                model.drain(..front);
            }
            _ => {
                let moved = table.client.run("LMOVE l l RIGHT LEFT").text();
                let last = model.pop().unwrap();
                assert_eq!(moved, last);
                model.insert(0, last);
            }
        }
        if round % 100 == 50 {
            table.chill();
        }
        if round % 20 == 0 {
            let from = near_or_far(&mut chance, model.len());
            let got = texts(&table.client.run(&format!("LRANGE l {from} {}", from + 99)));
            assert_eq!(got, model[from..].iter().take(100).cloned().collect::<Vec<_>>(), "round {round}");
        }
    }
    assert_eq!(texts(&table.client.run("LRANGE l 0 -1")), model);
}

#[test]
fn a_scan_gives_what_was_there_all_the_time() {
    let mut table = Table::new(&[]);
    let set = |n: usize| words(&format!("SET stays:{n} v"));
    table.pipeline(&(0..5000).map(set).collect::<Vec<_>>());
    table.pipeline(&(0..5000).map(|n| words(&format!("SET goes:{n} v"))).collect::<Vec<_>>());
    table.pipeline(&(0..3000).map(|n| words(&format!("HSET stays:h f{n} v"))).collect::<Vec<_>>());
    table.chill();
    let mut at = 0;
    let given = table.scan("SCAN ", 100, |client| {
        // Between two pages some keys go and others come.
        for _ in 0..20 {
            client.run(&format!("DEL goes:{at}"));
            client.run(&format!("SET comes:{at} v"));
            at += 1;
        }
    });
    let given: BTreeSet<String> = given.into_iter().collect();
    for n in 0..5000 {
        assert!(given.contains(&format!("stays:{n}")), "stays:{n} was there all the time");
    }
    assert!(given.contains("stays:h"));

    let mut at = 0;
    let fields = table.scan("HSCAN stays:h ", 100, |client| {
        client.run(&format!("HSET stays:h new{at} v"));
        at += 1;
    });
    let fields = as_map(&fields);
    for n in 0..3000 {
        assert!(fields.contains_key(&format!("f{n}")), "f{n} was there all the time");
    }

    let matched = table.scan("SCAN ", 1000, |_| ());
    assert_eq!(matched.iter().collect::<BTreeSet<_>>().len() as i64, table.client.run("DBSIZE").integer());
    assert_eq!(texts(&table.client.run("KEYS stays:*")).len(), 5001);
}

/// Counts that should be equal are. Chi-squared of so many degrees of freedom has that mean and the root of twice as much as its
/// deviation; eight deviations off comes by chance once in a thousand million runs.
fn assert_even(what: &str, counts: &[u64]) {
    let freedom = counts.len() as f64 - 1.0;
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let chi = counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum::<f64>();
    let bound = freedom + 8.0 * (2.0 * freedom).sqrt();
    assert!(chi < bound, "{what}: chi-squared is {chi:.0} over {} items, at most {bound:.0}", counts.len());
}

/// The number of an item that is called `k<number>`.
fn number_of(item: &Value) -> usize {
    item.text()[1..].parse().unwrap()
}

/// Sends a command that picks until it has picked so many of `items` items, and looks whether each came equally often.
fn check_picks(table: &mut Table, line: &str, items: usize, picks: usize) {
    let count: Option<i64> = line.split(' ').nth(2).map(|count| count.parse().unwrap());
    let each = count.map_or(1, |count| count.unsigned_abs() as usize);
    let mut counts = vec![0; items];
    for reply in table.pipeline(&vec![words(line); picks / each]) {
        let picked = if count.is_none() { vec![reply] } else { reply.items() };
        assert_eq!(picked.len(), each, "{line}");
        let different: BTreeSet<String> = picked.iter().map(Value::text).collect();
        assert!(count.is_none_or(|count| count < 0) || different.len() == each, "{line}: one came twice");
        picked.iter().for_each(|item| counts[number_of(item)] += 1);
    }
    assert_even(line, &counts);
}

/// Pops copies of a set empty one by one: each member comes once, and at each turn any of them equally often.
fn check_pops(table: &mut Table, items: usize, copies: usize) {
    let mut commands = vec![words("COPY few popped")];
    commands.resize(1 + items, words("SPOP popped"));
    let replies = table.pipeline(&vec![commands; copies].concat());
    let mut counts = vec![vec![0; items]; items];
    for copy in replies.chunks(1 + items) {
        let order: Vec<usize> = copy[1..].iter().map(number_of).collect();
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), items, "{order:?}: one came twice");
        order.into_iter().enumerate().for_each(|(turn, item)| counts[turn][item] += 1);
    }
    for turn in [0, 1, items / 2, items - 2, items - 1] {
        assert_even(&format!("turn {turn} of SPOP"), &counts[turn]);
    }
    assert_eq!(table.client.run("EXISTS popped").integer(), 0);

    let replies =
        table.pipeline(&vec![[words("COPY few popped REPLACE"), words("SPOP popped 7")]; copies].concat());
    let mut counts = vec![0; items];
    for pair in replies.chunks(2) {
        let different: BTreeSet<usize> = pair[1].items().iter().map(number_of).collect();
        assert_eq!(different.len(), 7, "SPOP popped 7: one came twice");
        different.into_iter().for_each(|item| counts[item] += 1);
    }
    assert_even("SPOP popped 7", &counts);
    assert_eq!(table.client.run("SCARD popped").integer(), items as i64 - 7);
}

/// Real Redis picks by bucket, which is not uniform: so this is asked of Tuff only.
#[test]
fn random_picks_are_uniform() {
    const ITEMS: usize = 200;
    const FEW: usize = 40;
    let mut table = Table::new(&["--packed-max-bytes", "16kb"]);
    if table.server.program() == Program::Oracle {
        return;
    }
    table.pipeline(&(0..ITEMS).map(|n| words(&format!("SET k{n} v"))).collect::<Vec<_>>());
    check_picks(&mut table, "RANDOMKEY", ITEMS, 20_000);
    table.client.ok("SELECT 1");
    // Packed, then spread: how a collection lies is decided when it is made.
    for packing in ["yes", "no"] {
        table.client.ok(&format!("CONFIG SET packing {packing}"));
        table.client.run("DEL h s z few popped");
        let fill =
            |n: usize| [format!("HSET h k{n} v"), format!("SADD s k{n}"), format!("ZADD z {} k{n}", n / 9)];
        table.pipeline(&(0..ITEMS).flat_map(fill).map(|line| words(&line)).collect::<Vec<_>>());
        table.pipeline(&(0..FEW).map(|n| words(&format!("SADD few k{n}"))).collect::<Vec<_>>());
        for command in ["HRANDFIELD h", "SRANDMEMBER s", "ZRANDMEMBER z"] {
            // Few picks draw from windows; 60 out of 200 are a sample of all.
            for count in ["", " 3", " -3", " 60", " -60"] {
                check_picks(&mut table, &format!("{command}{count}"), ITEMS, 20_000);
            }
        }
        check_pops(&mut table, FEW, 1_000);
    }
}
