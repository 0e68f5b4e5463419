//! Results as a table for people and as JSON for programs.
//!
//! ```text
//! {"phases": [{"name": "run", "seconds": 10.0, "requests": 1000, "rate": 100.0, "nils": 0, "errors": 0, "unanswered": 0,
//!   "lost_connections": 0, "first_error": "", "latency_us": {...}, "commands": [{"name": "get", "requests": 1000, "rate": 100.0,
//!   "nils": 0, "errors": 0, "latency_us": {"mean": 1.0, "p50": 1.0, "p90": .., "p99": .., "p99_9": .., "p99_99": .., "max": ..}}]}]}
//! ```

use super::options::Options;
use super::run::Outcome;
use super::tally::CommandTally;
use hdrhistogram::Histogram;
use std::fmt::Write;

const QUANTILES: &[(&str, f64)] =
    &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999)];

/// The table, under a line that says what was asked for.
pub fn table(options: &Options, outcomes: &[Outcome]) -> String {
    let mut text = format!("{}\n", options.describe());
    for outcome in outcomes {
        let _ = write!(text, "\n{} ({:.1} s)\n{}", outcome.name, outcome.seconds, head());
        let mut all = CommandTally { latency: all_latencies(outcome), nils: 0, errors: 0 };
        for (name, command) in outcome.commands.iter().zip(&outcome.tally.commands) {
            text.push_str(&row(name, command, outcome.seconds));
            all.nils += command.nils;
            all.errors += command.errors;
        }
        if outcome.commands.len() > 1 {
            text.push_str(&row("all", &all, outcome.seconds));
        }
        let tally = &outcome.tally;
        if tally.unanswered > 0 || tally.lost_connections > 0 {
            let _ = writeln!(
                text,
                "{} requests unanswered, {} connections lost",
                tally.unanswered, tally.lost_connections
            );
        }
        if !tally.first_error.is_empty() {
            let _ = writeln!(text, "the first error: {}", tally.first_error);
        }
    }
    text
}

fn head() -> String {
    format!(
        "{:<18}{:>12}{:>11}{:>10}{:>10}{:>10}{:>10}{:>11}{:>10}{:>8}\n",
        "command", "requests", "per s", "mean us", "p50 us", "p99 us", "p99.9 us", "max us", "nil", "errors"
    )
}

fn row(name: &str, command: &CommandTally, seconds: f64) -> String {
    let latency = &command.latency;
    let us = |ns: u64| ns as f64 / 1000.0;
    format!(
        "{name:<18}{:>12}{:>11.0}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>11.1}{:>10}{:>8}\n",
        latency.len(),
        rate(latency.len(), seconds),
        latency.mean() / 1000.0,
        us(latency.value_at_quantile(0.5)),
        us(latency.value_at_quantile(0.99)),
        us(latency.value_at_quantile(0.999)),
        us(latency.max()),
        command.nils,
        command.errors,
    )
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// All commands' latencies; the first command's where they cannot be added, which equal bounds rule out.
fn all_latencies(outcome: &Outcome) -> Histogram<u64> {
    outcome.tally.latency().unwrap_or_else(|_| outcome.tally.commands[0].latency.clone())
}

/// The JSON, on one line.
pub fn json(outcomes: &[Outcome]) -> String {
    let phases: Vec<String> = outcomes.iter().map(json_phase).collect();
    format!("{{\"phases\": [{}]}}\n", phases.join(", "))
}

fn json_phase(outcome: &Outcome) -> String {
    let (tally, all) = (&outcome.tally, all_latencies(outcome));
    let commands: Vec<String> = outcome
        .commands
        .iter()
        .zip(&tally.commands)
        .map(|(name, command)| {
            format!(
                "{{\"name\": {}, {}}}",
                quoted(name),
                json_figures(&command.latency, outcome.seconds, command.nils, command.errors)
            )
        })
        .collect();
    let nils = tally.commands.iter().map(|c| c.nils).sum();
    let errors = tally.commands.iter().map(|c| c.errors).sum();
    format!(
        "{{\"name\": {}, \"seconds\": {:.6}, \"unanswered\": {}, \"lost_connections\": {}, \"first_error\": {}, {}, \
         \"commands\": [{}]}}",
        quoted(outcome.name),
        outcome.seconds,
        tally.unanswered,
        tally.lost_connections,
        quoted(&tally.first_error),
        json_figures(&all, outcome.seconds, nils, errors),
        commands.join(", ")
    )
}

fn json_figures(latency: &Histogram<u64>, seconds: f64, nils: u64, errors: u64) -> String {
    format!(
        "\"requests\": {}, \"rate\": {:.1}, \"nils\": {nils}, \"errors\": {errors}, \"latency_us\": {}",
        latency.len(),
        rate(latency.len(), seconds),
        json_latency(latency)
    )
}

/// `{"mean": .., "p50": .., .., "max": ..}` in microseconds.
pub fn json_latency(latency: &Histogram<u64>) -> String {
    let mut text = format!("{{\"mean\": {:.1}", latency.mean() / 1000.0);
    for (name, quantile) in QUANTILES {
        let _ = write!(text, ", \"{name}\": {:.1}", latency.value_at_quantile(*quantile) as f64 / 1000.0);
    }
    let _ = write!(text, ", \"max\": {:.1}}}", latency.max() as f64 / 1000.0);
    text
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;

    fn outcome() -> Outcome {
        let mut tally = Tally::new(2).unwrap();
        (0..99).for_each(|_| tally.commands[0].latency.record(100_000).unwrap());
        tally.commands[1].latency.record(5_000_000).unwrap();
        tally.commands[0].nils = 3;
        tally.commands[1].errors = 1;
        tally.first_error = "ERR \"x\"\n".to_string();
        Outcome { name: "run", commands: vec!["get".into(), "set".into()], seconds: 2.0, tally }
    }

    #[test]
    fn json_holds_counts_rates_and_quantiles() {
        let text = json(&[outcome()]);
        for part in [
            "{\"phases\": [{\"name\": \"run\", \"seconds\": 2.000000",
            "\"first_error\": \"ERR \\\"x\\\"\\u000a\", \"requests\": 100, \"rate\": 50.0, \"nils\": 3, \"errors\": 1, ",
            "{\"name\": \"get\", \"requests\": 99, \"rate\": 49.5, \"nils\": 3, \"errors\": 0, \"latency_us\": {\"mean\": 100.0, \"p50\": 100.0",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_mix_has_a_row_for_each_command_and_one_for_all() {
        let lines = row("get", &outcome().tally.commands[0], 2.0);
        let columns: Vec<&str> = lines.split_whitespace().collect();
        assert_eq!(columns[..3], ["get", "99", "50"]);
        assert_eq!(columns[8..], ["3", "0"]);
        assert_eq!(head().split("  ").filter(|word| !word.trim().is_empty()).count(), columns.len());
    }
}
