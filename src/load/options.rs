//! The command line of `tuff bench`, and the phases it asks for.

use super::connection::Target;
use super::keys::Pattern;
use super::mix::{self, Mix, Records, Ycsb};
use super::run::Phase;
use super::template::Shape;
use super::values::{Sizes, Values};
use clap::{Args, ValueEnum};

/// Requests of a run when neither their number nor a time is given.
const REQUESTS_DEFAULT: u64 = 100_000;

/// How keys are chosen, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyPattern {
    /// Every key is equally likely.
    Uniform,
    /// A few keys are much more popular than the rest (see --theta).
    Zipf,
    /// One after the other.
    Sequential,
    /// The newest are the most popular.
    Latest,
}

/// Load for a server of Redis' protocol, Tuff or another, and how long its answers take.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The server's host.
    #[arg(short = 'H', long, default_value = "127.0.0.1")]
    pub host: String,
    /// The server's port.
    #[arg(short, long, default_value_t = 6379)]
    pub port: u16,
    /// The user of AUTH.
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    /// The password of AUTH; better in the environment as REDISCLI_AUTH.
    #[arg(short = 'a', long)]
    pub password: Option<String>,
    /// The logical database.
    #[arg(long, default_value_t = 0)]
    pub db: u32,

    /// Connections.
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// Threads that share them.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub threads: u32,
    /// Requests under way on each connection. A closed loop sends the next ones when the last of them is answered.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Requests in all [default: 100000 unless --seconds is given].
    #[arg(short = 'n', long)]
    pub requests: Option<u64>,
    /// How long to run.
    #[arg(short, long)]
    pub seconds: Option<f64>,
    /// An open loop: this many requests per second, and latencies from the moment each was due.
    #[arg(short, long)]
    pub rate: Option<f64>,
    /// Give up after so many seconds without an answer.
    #[arg(long, default_value_t = 60.0)]
    pub patience: f64,

    /// Different keys.
    #[arg(short, long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=999_999_999_999))]
    pub keys: u64,
    /// What key names begin with; twelve digits follow.
    #[arg(long, default_value = "key:")]
    pub key_prefix: String,
    /// How keys are chosen [default: uniform; for --ycsb as that has it].
    #[arg(long, value_enum)]
    pub pattern: Option<KeyPattern>,
    /// How skewed zipf and latest are: the key of rank r is drawn with a probability proportional to r^-theta.
    #[arg(long, default_value_t = 0.99)]
    pub theta: f64,
    /// Zipf ranks are key numbers: popular keys stand side by side.
    #[arg(long)]
    pub unscrambled: bool,
    /// Bytes of a value: 64, 1kb, or a range such as 100-2000.
    #[arg(short = 'd', long, default_value = "64")]
    pub value_size: Sizes,
    /// How much of a value is random; the rest compresses to nothing.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub random_percent: u8,
    /// Different fields ({field}), which are also the members of sets and sorted sets.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub fields: u64,

    /// Commands and their weights, such as get=80,set=20 (a wrong name lists the right ones).
    #[arg(short, long, group = "workload")]
    pub mix: Option<String>,
    /// A workload of YCSB.
    #[arg(long, value_enum, ignore_case = true, group = "workload")]
    pub ycsb: Option<Ycsb>,
    /// Any request: words with {key} {another} {new} {number} {newnumber} {field} {random} {value} {scan}, and `;` alone between commands.
    /// May be given several times.
    #[arg(long, group = "workload", value_name = "TEMPLATE")]
    pub command: Vec<String>,
    /// What YCSB's records are, and what --load writes.
    #[arg(long, value_enum, default_value_t = Records::Strings)]
    pub records: Records,

    /// First write every key once. The run comes after it if --mix, --ycsb or --command says what to run.
    #[arg(long)]
    pub load: bool,
    /// What --load sends for each key, instead of a record.
    #[arg(long, value_name = "TEMPLATE", requires = "load")]
    pub load_command: Option<String>,
    /// Requests under way on each connection while loading.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub load_pipeline: u32,

    /// Where chance begins; equal seeds draw equal keys and values.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// No progress bar.
    #[arg(short, long)]
    pub quiet: bool,
}

impl Options {
    /// Where to connect.
    pub fn target(&self) -> Target {
        let password = self.password.clone().or_else(|| std::env::var("REDISCLI_AUTH").ok());
        let auth = self.user.iter().cloned().chain(password).collect();
        Target { host: self.host.clone(), port: self.port, auth, database: self.db }
    }

    /// Whether there is no progress bar.
    pub fn is_quiet(&self) -> bool {
        self.quiet || self.json
    }

    /// The phases in their order; an error says what cannot be.
    pub fn phases(&self) -> Result<Vec<Phase>, String> {
        let is_positive = |number: f64| number > 0.0 && number.is_finite();
        for (name, number) in
            [("seconds", self.seconds), ("rate", self.rate), ("patience", Some(self.patience))]
        {
            if number.is_some_and(|number| !is_positive(number)) {
                return Err(format!("--{name} must be above 0"));
            }
        }
        if !(0.0..=10.0).contains(&self.theta) {
            return Err("--theta must be from 0 to 10".to_string());
        }
        let mut phases = Vec::new();
        if self.load {
            phases.push(self.load_phase()?);
        }
        let names_workload = self.mix.is_some() || self.ycsb.is_some() || !self.command.is_empty();
        if names_workload || !self.load {
            phases.push(self.run_phase()?);
        }
        Ok(phases)
    }

    fn load_phase(&self) -> Result<Phase, String> {
        let text = match (&self.load_command, self.ycsb) {
            (Some(text), _) => text.clone(),
            (None, Some(workload)) => workload.load(self.records, &self.key_prefix),
            (None, None) => mix::record(self.records, "{key}"),
        };
        Ok(Phase {
            name: "load",
            mix: Mix::new(vec![("load".to_string(), text, 1)], &self.shape())?,
            pattern: Pattern::Sequential,
            depth: self.load_pipeline as usize,
            requests: Some(self.keys),
            until_ns: None,
            rate: None,
            ..self.run_phase()?
        })
    }

    fn run_phase(&self) -> Result<Phase, String> {
        let entries = match (&self.mix, self.ycsb) {
            (Some(text), _) => mix::ratios(text)?,
            (None, Some(workload)) => workload.entries(self.records, &self.key_prefix),
            (None, None) if self.command.is_empty() => mix::ratios("get=90,set=10")?,
            (None, None) => self.command.iter().map(|text| (first_word(text), text.clone(), 1)).collect(),
        };
        let requests = match (self.requests, self.seconds, self.rate) {
            (Some(requests), _, _) => Some(requests),
            (None, Some(seconds), Some(rate)) => Some((seconds * rate).ceil() as u64),
            (None, Some(_), None) => None,
            (None, None, _) => Some(REQUESTS_DEFAULT),
        };
        Ok(Phase {
            name: "run",
            mix: Mix::new(entries, &self.shape())?,
            shape: self.shape(),
            pattern: self.pattern(),
            keys: self.keys,
            depth: self.pipeline as usize,
            requests,
            until_ns: self.seconds.map(|seconds| (seconds * 1e9) as u64),
            rate: self.rate,
            patience_ns: (self.patience * 1e9) as u64,
        })
    }

    fn pattern(&self) -> Pattern {
        let theta = self.theta;
        match (self.pattern, self.ycsb) {
            (None, Some(workload)) => workload.pattern(theta),
            (None | Some(KeyPattern::Uniform), _) => Pattern::Uniform,
            (Some(KeyPattern::Zipf), _) => Pattern::Zipf { theta, scrambled: !self.unscrambled },
            (Some(KeyPattern::Sequential), _) => Pattern::Sequential,
            (Some(KeyPattern::Latest), _) => Pattern::Latest { theta },
        }
    }

    fn shape(&self) -> Shape {
        let values = Values { sizes: self.value_size, random_percent: self.random_percent };
        Shape { key_prefix: self.key_prefix.clone().into_bytes(), fields: self.fields, values }
    }

    /// What was asked for, on one line.
    pub fn describe(&self) -> String {
        let pattern = match self.pattern() {
            Pattern::Uniform => "uniform".to_string(),
            Pattern::Sequential => "sequential".to_string(),
            Pattern::Zipf { theta, .. } => format!("zipf({theta})"),
            Pattern::Latest { theta } => format!("latest({theta})"),
        };
        let Sizes { bytes_min, bytes_max } = self.value_size;
        let sizes =
            if bytes_min == bytes_max { bytes_min.to_string() } else { format!("{bytes_min}-{bytes_max}") };
        let (connections, threads, depth) = (self.connections, self.threads, self.pipeline);
        let looped = self.rate.map_or("closed loop".to_string(), |rate| format!("open loop at {rate}/s"));
        format!(
            "{}:{}: {connections} connections on {threads} thread{}, pipeline {depth}, {looped}; {} keys {pattern}, values of {sizes} bytes",
            self.host,
            self.port,
            if threads == 1 { "" } else { "s" },
            self.keys,
        )
    }
}

/// A template's name in the report: the names of its commands.
fn first_word(text: &str) -> String {
    let names: Vec<String> = text
        .split(" ; ")
        .filter_map(|command| command.split_ascii_whitespace().next())
        .map(str::to_ascii_lowercase)
        .collect();
    names.join("+")
}
