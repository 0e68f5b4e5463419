//! Random commands to the subject and to the oracle, every reply compared; on a difference the shortest list of commands
//! that still shows it is printed.
//!
//! Commands come in segments; each starts from empty databases and has its own seed (run seed + number), so
//! `TUFF_SEED=<the printed seed>` meets the failure in its first segment. Within a segment, several connections take turns in
//! short pipelined batches; one of them speaks RESP3. Order is compared only where Redis promises one, random picks by
//! membership, scans by what the whole iteration gave, times to live with a tolerance (expiry is far ahead or in the past).
//!
//! `TUFF_DIFF_COMMANDS` (default 200000) says how many commands; `TUFF_DIFF_FAMILIES=string,hash` takes some families only;
//! `TUFF_DIFF_WITHOUT=COPY,MOVE` leaves commands out.

mod families;
mod shrink;
mod template;

use crate::chance::{Chance, number_from_env, seed};
use crate::client::{Client, encode};
use crate::server::{Program, Server, durable_options, subject_is_oracle};
use crate::value::{Value, render_command};
use families::FAMILIES;
use std::collections::BTreeSet;
use template::{Compare, Entry, generate};

const SEGMENT_COMMANDS: u64 = 10_000;
const CONNECTIONS: usize = 4;
/// The connection that speaks RESP3.
const RESP3_CONNECTION: usize = 3;
const BATCH_MAX: usize = 64;

/// One random command.
#[derive(Clone)]
struct Step {
    connection: usize,
    words: Vec<Vec<u8>>,
    compare: Compare,
    before: Before,
}

/// What happens to the subject before a command.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// Hot tier, memtables and block cache are emptied (Tuff only).
    Chill,
    /// kill -9 and a new start; all connections, the oracle's too, are new ones.
    Kill,
}

/// Where the two servers parted.
struct Failure {
    /// The index of the step.
    at: usize,
    text: String,
}

/// The subject and the oracle.
struct Pair {
    subject: Server,
    oracle: Server,
}

/// The two ends of one numbered connection, and what is queued in its transaction.
struct Line {
    subject: Client,
    oracle: Client,
    queued: Vec<Compare>,
}

impl Pair {
    fn start(options: &[&str]) -> Pair {
        Pair { subject: Server::tuff(options), oracle: Server::redis(&[]) }
    }

    /// Plays the steps from empty databases; answers the first difference.
    fn play(&mut self, steps: &[Step]) -> Option<Failure> {
        let open_all =
            |pair: &Pair| -> Vec<Line> { (0..CONNECTIONS).map(|number| pair.open(number)).collect() };
        if !self.subject.is_running() {
            self.subject.start_again();
        }
        let mut admin = self.subject.client();
        admin.ok("FLUSHALL");
        self.oracle.client().ok("FLUSHALL");
        let mut lines = open_all(self);
        let mut at = 0;
        while at < steps.len() {
            let end = batch_end(steps, at);
            match steps[at].before {
                Before::Nothing => {}
                Before::Chill => admin.ok("DEBUG CHILL"),
                Before::Kill => {
                    self.subject.start_again();
                    admin = self.subject.client();
                    lines = open_all(self);
                }
            }
            if let Some(failure) = lines[steps[at].connection].play_batch(steps, at, end) {
                return Some(failure);
            }
            at = end;
        }
        None
    }

    fn open(&self, number: usize) -> Line {
        let mut line =
            Line { subject: self.subject.client(), oracle: self.oracle.client(), queued: Vec::new() };
        if number == RESP3_CONNECTION {
            line.subject.run("HELLO 3");
            line.oracle.run("HELLO 3");
        }
        line
    }
}

/// A batch is of one connection, and ends with a command that needs more requests to be compared.
fn batch_end(steps: &[Step], start: usize) -> usize {
    let mut end = start + 1;
    let asks_more = |step: &Step| matches!(step.compare, Compare::Scan | Compare::PickedFrom(_));
    while end < steps.len()
        && end - start < BATCH_MAX
        && steps[end].connection == steps[start].connection
        && steps[end].before == Before::Nothing
        && !asks_more(&steps[end - 1])
    {
        end += 1;
    }
    end
}

impl Line {
    fn play_batch(&mut self, steps: &[Step], start: usize, end: usize) -> Option<Failure> {
        let mut request = Vec::new();
        steps[start..end].iter().for_each(|step| encode(&step.words, &mut request));
        // A send that fails shows as a reply that does not come.
        let _ = self.subject.send_raw(&request);
        let _ = self.oracle.send_raw(&request);
        for (i, step) in steps[start..end].iter().enumerate() {
            let subject = self.subject.try_read();
            let oracle = self.oracle.try_read().expect("the oracle answers");
            let difference = match &subject {
                Ok(subject) => self.compare(step, subject, &oracle),
                Err(e) => Err(format!("no reply: {e}")),
            };
            if let Err(why) = difference {
                let shown = subject.map_or_else(|e| format!("({e})"), |value| value.render());
                let command = render_command(&step.words);
                let text = format!(
                    "{command}\n  {why}\n--- answered:\n{shown}\n--- Redis answers:\n{}",
                    oracle.render()
                );
                return Some(Failure { at: start + i, text });
            }
        }
        None
    }

    /// Compares one pair of replies, with the follow-up requests this takes.
    fn compare(&mut self, step: &Step, subject: &Value, oracle: &Value) -> Result<(), String> {
        let name = step.words[0].to_ascii_uppercase();
        if *subject == Value::Simple(b"QUEUED".to_vec()) && subject == oracle {
            self.queued.push(step.compare);
            return Ok(());
        }
        if name == b"EXEC" && step.words.len() == 1 {
            let queued = std::mem::take(&mut self.queued);
            if let (Value::Array(left), Value::Array(right)) = (subject, oracle) {
                if left.len() != queued.len() {
                    return Err(format!("EXEC of {} commands gave {} replies", queued.len(), left.len()));
                }
                let each = queued.iter().zip(left).zip(right);
                return each.into_iter().try_for_each(|((compare, l), r)| compare_values(*compare, l, r));
            }
        }
        if name == b"MULTI" && subject.is_ok() {
            self.queued.clear();
        }
        match step.compare {
            Compare::Scan if is_page(subject) && is_page(oracle) => self.compare_scans(step, subject, oracle),
            Compare::PickedFrom(lister) => {
                compare_values(step.compare, subject, oracle)?;
                self.check_picks(step, lister, subject)
            }
            compare => compare_values(compare, subject, oracle),
        }
    }

    /// Iterates both scans to their end and compares what came.
    fn compare_scans(&mut self, step: &Step, subject: &Value, oracle: &Value) -> Result<(), String> {
        let left = scan_rest(&mut self.subject, step, subject)?;
        let right = scan_rest(&mut self.oracle, step, oracle)?;
        if left == right {
            return Ok(());
        }
        let show = |set: &BTreeSet<Vec<Value>>| {
            let items = set.iter().flatten().map(|v| v.render().replace('\n', " "));
            items.collect::<Vec<_>>().join(" ")
        };
        Err(format!("the whole iteration gave\n  {}\n  and Redis'\n  {}", show(&left), show(&right)))
    }

    /// Each picked item must be one that the lister lists, at most once when the count is not negative.
    fn check_picks(&mut self, step: &Step, lister: &str, reply: &Value) -> Result<(), String> {
        let picks = leaves(reply);
        if picks.is_empty() {
            return Ok(());
        }
        let mut command: Vec<Vec<u8>> = lister.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        if command.len() == 1 {
            command.push(step.words[1].clone());
        }
        command.iter_mut().filter(|word| **word == b"?").for_each(|word| *word = step.words[1].clone());
        let all: BTreeSet<Value> = leaves(&self.subject.call(&command)).into_iter().collect();
        if let Some(odd) = picks.iter().find(|pick| !all.contains(pick)) {
            return Err(format!("the pick {} is not in {}", odd.render(), render_command(&command)));
        }
        let negative = step.words.get(2).is_some_and(|count| count.starts_with(b"-"));
        let with_values = step.words.len() > 3;
        let distinct: BTreeSet<&Value> = picks.iter().collect();
        if !negative && !with_values && distinct.len() != picks.len() {
            return Err("a pick came twice".to_string());
        }
        Ok(())
    }
}

/// All strings in a reply, whatever its nesting; nothing in an error or null.
fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Bulk(_) => vec![value.clone()],
        Value::Array(_) | Value::Set(_) | Value::Map(_) => value.items().iter().flat_map(leaves).collect(),
        _ => Vec::new(),
    }
}

fn is_page(value: &Value) -> bool {
    matches!(value, Value::Array(items) if matches!(items[..], [Value::Bulk(_), Value::Array(_)]))
}

/// The rest of a scan whose first page is `page`: everything it gave, fields with their values.
fn scan_rest(client: &mut Client, step: &Step, page: &Value) -> Result<BTreeSet<Vec<Value>>, String> {
    let name = step.words[0].to_ascii_uppercase();
    let no_values = step.words.iter().any(|word| word.eq_ignore_ascii_case(b"NOVALUES"));
    let width = if (name == b"HSCAN" || name == b"ZSCAN") && !no_values { 2 } else { 1 };
    let mut words = step.words.clone();
    let mut page = page.clone();
    let mut all = BTreeSet::new();
    for _ in 0..100_000 {
        if !is_page(&page) {
            return Err(format!("a later page of the scan answered {}", page.render()));
        }
        let items = page.items();
        all.extend(items[1].items().chunks(width).map(<[Value]>::to_vec));
        let cursor = items[0].bytes().unwrap_or_default().to_vec();
        if cursor == b"0" {
            return Ok(all);
        }
        words[if name == b"SCAN" { 1 } else { 2 }] = cursor;
        page = client.call(&words);
    }
    Err("the scan does not end".to_string())
}

/// Compares two replies of which neither needs another request.
fn compare_values(compare: Compare, subject: &Value, oracle: &Value) -> Result<(), String> {
    let same = match compare {
        Compare::Exact => subject == oracle,
        Compare::Sorted => subject.clone().sorted() == oracle.clone().sorted(),
        Compare::Pairs => subject.clone().sorted_pairs() == oracle.clone().sorted_pairs(),
        Compare::Near(off) => subject.is_near(oracle, off),
        Compare::Encoding => encoding(subject) == encoding(oracle),
        Compare::PickedFrom(_) => shape(subject) == shape(oracle),
        Compare::Scan => (is_page(subject) && is_page(oracle)) || subject == oracle,
    };
    if same { Ok(()) } else { Err("the replies differ".to_string()) }
}

/// The encoding, with a string's three taken as one: they tell how a string came to be, and Redis itself forgets that when
/// it starts again. What they are for a fresh value is in the transcripts.
fn encoding(value: &Value) -> Value {
    match value.bytes() {
        Some(b"int" | b"embstr" | b"raw") => Value::Bulk(b"string".to_vec()),
        _ => value.clone(),
    }
}

/// The reply with every string emptied.
fn shape(value: &Value) -> Value {
    match value {
        Value::Bulk(_) | Value::Double(_) => Value::Bulk(Vec::new()),
        Value::Array(items) => Value::Array(items.iter().map(shape).collect()),
        other => other.clone(),
    }
}

/// Makes one segment's commands.
fn make_steps(seed: u64, count: u64, before: Before, one_in: u64) -> Vec<Step> {
    let only = std::env::var("TUFF_DIFF_FAMILIES").ok();
    let only: Option<Vec<&str>> = only.as_ref().map(|list| list.split(',').collect());
    let without = std::env::var("TUFF_DIFF_WITHOUT").unwrap_or_default().to_uppercase();
    let families: Vec<(u64, &[Entry])> = FAMILIES
        .iter()
        .filter(|(name, ..)| only.as_ref().is_none_or(|only| only.contains(name)))
        .map(|(_, weight, table)| (*weight, *table))
        .collect();
    assert!(!families.is_empty(), "TUFF_DIFF_FAMILIES names no family");
    let mut chance = Chance::new(seed);
    let mut steps = Vec::new();
    while (steps.len() as u64) < count {
        let connection = chance.below(CONNECTIONS as u64) as usize;
        let run = if chance.one_in(3) { chance.below(40) } else { chance.below(4) };
        for i in 0..=run {
            let table = *weighted(&families, |f| f.0, &mut chance);
            let (_, template, compare) = *weighted(table.1, |e| e.0, &mut chance);
            let words = disturb(generate(template, &mut chance), &mut chance);
            let name = String::from_utf8_lossy(&words[0]).to_uppercase();
            if !without.split(',').any(|left_out| left_out == name) {
                let before = if i == 0 && chance.one_in(one_in) { before } else { Before::Nothing };
                steps.push(Step { connection, words, compare, before });
            }
        }
    }
    steps
}

/// Now and then a command that is not quite right: a word too few or too many, or in odd letters.
fn disturb(mut words: Vec<Vec<u8>>, chance: &mut Chance) -> Vec<Vec<u8>> {
    match chance.below(200) {
        0 if words.len() > 1 => {
            words.pop();
        }
        1 => words.push(words[words.len() - 1].clone()),
        2 | 3 => words[0].make_ascii_lowercase(),
        _ => {}
    }
    words
}

fn weighted<'a, T>(items: &'a [T], weight: impl Fn(&T) -> u64, chance: &mut Chance) -> &'a T {
    let mut at = chance.below(items.iter().map(&weight).sum());
    for item in items {
        match at.checked_sub(weight(item)) {
            Some(rest) => at = rest,
            None => return item,
        }
    }
    unreachable!("the weights add up")
}

/// Plays `commands` random commands on a pair of fresh servers, with `before` happening once in `one_in` changes of connection.
fn run(name: &str, options: &[&str], commands: u64, before: Before, one_in: u64) {
    let seed = seed();
    eprintln!("{name}: TUFF_SEED={seed}, {commands} commands");
    let mut pair = Pair::start(options);
    let no_chill = before == Before::Chill && pair.subject.program() == Program::Oracle;
    let before = if no_chill { Before::Nothing } else { before };
    let segments = commands.div_ceil(SEGMENT_COMMANDS);
    for segment in 0..segments {
        let steps = make_steps(seed + segment, SEGMENT_COMMANDS.min(commands), before, one_in);
        if let Some(failure) = pair.play(&steps) {
            let (steps, failure) = shrink::shrink(&mut pair, steps, failure);
            let list: Vec<String> = steps.iter().map(show_step).collect();
            panic!(
                "{name}: {}\n\nTUFF_SEED={} meets it; the shortest list of commands found ({}):\n{}\n",
                failure.text,
                seed + segment,
                steps.len(),
                list.join("\n")
            );
        }
    }
}

fn show_step(step: &Step) -> String {
    let before = match step.before {
        Before::Nothing => "",
        Before::Chill => "[admin] > DEBUG CHILL\n",
        Before::Kill => "(kill -9, start again, connect again)\n",
    };
    format!("{before}[conn {}] > {}", step.connection + 1, render_command(&step.words))
}

fn commands() -> u64 {
    number_from_env("TUFF_DIFF_COMMANDS", 200_000)
}

#[test]
fn random_commands_answer_as_redis_does() {
    run("random commands", &[], commands(), Before::Nothing, 1);
}

#[test]
fn random_commands_answer_as_redis_does_with_packing_off() {
    let options: &[&str] = if subject_is_oracle() { &[] } else { &["--packing", "no"] };
    run("random commands, packing off", options, commands() / 4, Before::Nothing, 1);
}

#[test]
fn random_commands_answer_as_redis_does_cold() {
    run("random commands, cold", &["--enable-debug-command", "yes"], commands() / 10, Before::Chill, 4);
}

#[test]
fn random_commands_answer_as_redis_does_over_kills() {
    run("random commands, killed", &durable_options(), commands() / 20, Before::Kill, 50);
}

#[test]
fn every_template_makes_commands() {
    let mut chance = Chance::new(1);
    for (_, _, table) in FAMILIES {
        for (_, template, _) in *table {
            for _ in 0..50 {
                assert!(!generate(template, &mut chance).is_empty(), "{template}");
            }
        }
    }
}

#[test]
fn a_difference_is_found_and_shrunk() {
    let odd = Server::redis(&["--hash-max-listpack-entries", "3"]);
    let mut pair = Pair { subject: odd, oracle: Server::redis(&[]) };
    let (steps, failure) = (0..100)
        .find_map(|seed| {
            let steps = make_steps(seed, 2000, Before::Nothing, 1);
            pair.play(&steps).map(|failure| (steps, failure))
        })
        .expect("a smaller limit shows in OBJECT ENCODING");
    let (steps, _) = shrink::shrink(&mut pair, steps, failure);
    assert!(steps.len() <= 12, "{}", steps.iter().map(show_step).collect::<Vec<_>>().join("\n"));
    let last = render_command(&steps[steps.len() - 1].words);
    assert!(last.to_uppercase().starts_with("OBJECT ENCODING") || last == "EXEC", "{last}");
}
