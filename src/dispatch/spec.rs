//! What a command is, as data: one [`Spec`] per command, written once at the top of its family file.
//!
//! Everything that is known about a command without running it is here: arity, flags, keys, ACL categories,
//! documentation. `COMMAND INFO|DOCS|GETKEYS`, the gates, the key locks and the metrics labels read it.
//!
//! A table is built by `const fn`s and ends in [`family`], which checks every entry while the crate compiles: a
//! contradiction (write and readonly, an arity of 0, a key after the last argument) is a compile error. The builders
//! and checks use `assert!` for that; none of them is called at run time.
//!
//! A spec is generic over its handler `H`, so that this file knows nothing of how commands run.
//! There is no state and no lock.

use super::keyspec::{FindKeys, KeySpec};

/// One flag of a command. The first part are Redis' own (shown by `COMMAND INFO`), the second part is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// May change data.
    Write,
    /// Never changes data.
    ReadOnly,
    /// Refused when memory is full and nothing can be evicted.
    DenyOom,
    /// For administrators.
    Admin,
    /// About channels.
    PubSub,
    /// Not allowed in scripts.
    NoScript,
    /// May wait.
    Blocking,
    /// Allowed while the data set is being loaded.
    Loading,
    /// Allowed on a replica whose data is stale.
    Stale,
    /// Not shown to MONITOR.
    SkipMonitor,
    /// Never in the slow log.
    SkipSlowlog,
    /// Behaves as if ASKING had been sent before it.
    Asking,
    /// O(1) or O(log N), never held up.
    Fast,
    /// Allowed before AUTH.
    NoAuth,
    /// Valid without any key although it can take keys.
    NoMandatoryKeys,
    /// Not allowed while a replica loads in the background.
    NoAsyncLoading,
    /// Not allowed inside MULTI.
    NoMulti,
    /// Allowed while a script is over its time.
    AllowBusy,

    /// (Ours, hidden.) May send something to replicas although it is not a write: scripts, PUBLISH.
    MayReplicate,
    /// (Ours, hidden.) Needs `enable-debug-command` or its like.
    Protected,
    /// (Ours, hidden.) Always runs on the pool, never on a worker.
    Heavy,
    /// (Ours, hidden.) Needs the whole keyspace for itself.
    Gate,
    /// (Ours, hidden.) May use keys that it does not name: a script.
    Reaches,
    /// (Ours, hidden.) Changes its keys although Redis' key specs call the access RO.
    Exclusive,
}

/// The flags `COMMAND INFO` shows, in Redis' order. `movablekeys` is not among them: it follows from the key specs.
const SHOWN: &[(Flag, &str)] = &[
    (Flag::Write, "write"),
    (Flag::ReadOnly, "readonly"),
    (Flag::DenyOom, "denyoom"),
    (Flag::Admin, "admin"),
    (Flag::PubSub, "pubsub"),
    (Flag::NoScript, "noscript"),
    (Flag::Blocking, "blocking"),
    (Flag::Loading, "loading"),
    (Flag::Stale, "stale"),
    (Flag::SkipMonitor, "skip_monitor"),
    (Flag::SkipSlowlog, "skip_slowlog"),
    (Flag::Asking, "asking"),
    (Flag::Fast, "fast"),
    (Flag::NoAuth, "no_auth"),
    (Flag::NoMandatoryKeys, "no_mandatory_keys"),
    (Flag::NoAsyncLoading, "no_async_loading"),
    (Flag::NoMulti, "no_multi"),
    (Flag::AllowBusy, "allow_busy"),
];

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The set of `flags`.
    pub const fn of(flags: &[Flag]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < flags.len() {
            bits |= 1 << flags[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `flag` is in the set.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }

    /// The names `COMMAND INFO` shows for this set, in Redis' order, without `movablekeys`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SHOWN.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// The section of the documentation a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Redis' groups")]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// The group's name as `COMMAND DOCS` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }

    /// The category the group's commands are in unless they say otherwise.
    const fn category(self) -> Categories {
        match self {
            Group::Bitmap => Categories::of(&[Category::Bitmap]),
            Group::Connection => Categories::of(&[Category::Connection]),
            Group::Generic => Categories::of(&[Category::Keyspace]),
            Group::Geo => Categories::of(&[Category::Geo]),
            Group::Hash => Categories::of(&[Category::Hash]),
            Group::HyperLogLog => Categories::of(&[Category::HyperLogLog]),
            Group::List => Categories::of(&[Category::List]),
            Group::PubSub => Categories::of(&[Category::PubSub]),
            Group::Scripting => Categories::of(&[Category::Scripting]),
            Group::Set => Categories::of(&[Category::Set]),
            Group::SortedSet => Categories::of(&[Category::SortedSet]),
            Group::Stream => Categories::of(&[Category::Stream]),
            Group::String => Categories::of(&[Category::String]),
            Group::Transactions => Categories::of(&[Category::Transaction]),
            Group::Cluster | Group::Server => Categories::of(&[]),
        }
    }
}

/// One ACL category, in Redis' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are Redis' categories")]
pub enum Category {
    Keyspace,
    Read,
    Write,
    Set,
    SortedSet,
    List,
    Hash,
    String,
    Bitmap,
    HyperLogLog,
    Geo,
    Stream,
    PubSub,
    Admin,
    Fast,
    Slow,
    Blocking,
    Dangerous,
    Connection,
    Transaction,
    Scripting,
}

/// Every category with its name, in Redis' order (`ACL CAT` lists them so).
pub const CATEGORIES: &[(Category, &str)] = &[
    (Category::Keyspace, "keyspace"),
    (Category::Read, "read"),
    (Category::Write, "write"),
    (Category::Set, "set"),
    (Category::SortedSet, "sortedset"),
    (Category::List, "list"),
    (Category::Hash, "hash"),
    (Category::String, "string"),
    (Category::Bitmap, "bitmap"),
    (Category::HyperLogLog, "hyperloglog"),
    (Category::Geo, "geo"),
    (Category::Stream, "stream"),
    (Category::PubSub, "pubsub"),
    (Category::Admin, "admin"),
    (Category::Fast, "fast"),
    (Category::Slow, "slow"),
    (Category::Blocking, "blocking"),
    (Category::Dangerous, "dangerous"),
    (Category::Connection, "connection"),
    (Category::Transaction, "transaction"),
    (Category::Scripting, "scripting"),
];

/// A set of ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// The set of `categories`.
    pub const fn of(categories: &[Category]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < categories.len() {
            bits |= 1 << categories[i] as u32;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `category` is in the set.
    pub const fn has(self, category: Category) -> bool {
        self.0 & (1 << category as u32) != 0
    }

    /// The set with `category` added.
    pub const fn with(self, category: Category) -> Self {
        Self(self.0 | (1 << category as u32))
    }

    /// The names in the set, without `@`, in Redis' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CATEGORIES.iter().filter(move |(category, _)| self.has(*category)).map(|(_, name)| *name)
    }
}

/// A command or subcommand. `H` is what runs it.
#[derive(Clone, Copy, Debug)]
pub struct Spec<H: 'static> {
    /// In lower case; a subcommand has its bare name here ("get" of CONFIG GET).
    pub name: &'static str,
    /// Number of words including the name (for a subcommand: both names); negative: at least that many.
    pub arity: i32,
    /// What it may do and when.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Finds the keys where the key specs cannot, or not exactly.
    pub find_keys: Option<FindKeys>,
    /// The argument that names an element it looks up, for who looks ahead; negative: counted from the end. 0: none.
    pub element: i32,
    /// Section of the documentation.
    pub group: Group,
    /// Set by [`Spec::acl`]; otherwise the categories follow from the group.
    pub acl: Option<Categories>,
    /// Hints for clients and proxies, as Redis words them.
    pub tips: &'static [&'static str],
    /// The Redis version that brought it.
    pub since: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Cost, as `O(..)`.
    pub complexity: &'static str,
    /// The arguments, in the notation of [`super::syntax`]; empty: none.
    pub syntax: &'static str,
    /// The version that deprecated it, and what to use instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// An internal command, not meant for clients.
    pub syscmd: bool,
    /// Subcommands; their handlers run instead of this one's.
    pub subcommands: &'static [Spec<H>],
    /// What runs it; `None` for a container that does nothing by itself.
    pub handler: Option<H>,
}

impl<H: 'static> Spec<H> {
    /// A command called `name`, run by `handler`.
    pub const fn new(name: &'static str, handler: H) -> Self {
        Self::bare(name, Some(handler))
    }

    /// A command that is only a common name for its `subcommands`.
    pub const fn container(name: &'static str, subcommands: &'static [Spec<H>]) -> Self {
        Self::bare(name, None).arity(-2).complexity("Depends on the subcommand.").subcommands(subcommands)
    }

    const fn bare(name: &'static str, handler: Option<H>) -> Self {
        assert!(!name.is_empty(), "a command needs a name");
        let mut i = 0;
        while i < name.len() {
            let c = name.as_bytes()[i];
            let ok = c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
            assert!(ok, "a command's name is in lower case");
            i += 1;
        }
        Self {
            name,
            arity: 0,
            flags: Flags::of(&[]),
            keys: &[],
            find_keys: None,
            element: 0,
            group: Group::Generic,
            acl: None,
            tips: &[],
            since: "",
            summary: "",
            complexity: "O(1)",
            syntax: "",
            deprecated: None,
            syscmd: false,
            subcommands: &[],
            handler,
        }
    }

    /// Number of words, the name included; negative: at least that many.
    pub const fn arity(mut self, arity: i32) -> Self {
        assert!(arity != 0, "an arity counts the name, so it is never 0");
        self.arity = arity;
        self
    }

    /// What it may do and when.
    pub const fn flags(mut self, flags: &[Flag]) -> Self {
        self.flags = Flags::of(flags);
        self
    }

    /// Where its keys are.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        self
    }

    /// Finds the keys by a function, where the key specs cannot tell them exactly.
    pub const fn find_keys(mut self, find: FindKeys) -> Self {
        self.find_keys = Some(find);
        self
    }

    /// Section of the documentation; gives the ACL category too.
    pub const fn group(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// ACL categories other than those the group and the flags imply; replaces the group's.
    pub const fn acl(mut self, categories: &[Category]) -> Self {
        self.acl = Some(Categories::of(categories));
        self
    }

    /// The argument that names an element it looks up: a field, a member; negative: counted from the end.
    pub const fn element(mut self, argument: i32) -> Self {
        self.element = argument;
        self
    }

    /// Hints for clients and proxies.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// The Redis version that brought it.
    pub const fn since(mut self, version: &'static str) -> Self {
        self.since = version;
        self
    }

    /// One sentence for people.
    pub const fn summary(mut self, sentence: &'static str) -> Self {
        self.summary = sentence;
        self
    }

    /// Cost; `O(1)` when not said. Empty: not documented.
    pub const fn complexity(mut self, cost: &'static str) -> Self {
        self.complexity = cost;
        self
    }

    /// The arguments, in the notation of [`super::syntax`].
    pub const fn syntax(mut self, syntax: &'static str) -> Self {
        self.syntax = syntax;
        self
    }

    /// Deprecated since `version`; `replacement` says what to use instead.
    pub const fn deprecated(mut self, version: &'static str, replacement: &'static str) -> Self {
        self.deprecated = Some((version, replacement));
        self
    }

    /// Not meant for clients.
    pub const fn syscmd(mut self) -> Self {
        self.syscmd = true;
        self
    }

    /// Its subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Spec<H>]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Whether a request of `argc` words (names included) has an allowed number of them.
    pub const fn takes(&self, argc: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity > 0 { argc == least } else { argc >= least }
    }

    /// The subcommand called `name`, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Spec<H>> {
        self.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The ACL categories, those that follow from group and flags included.
    pub const fn acl_categories(&self) -> Categories {
        let mut set = match self.acl {
            Some(explicit) => explicit,
            None if !self.subcommands.is_empty() => Categories::of(&[]),
            None => self.group.category(),
        };
        if self.flags.has(Flag::Write) {
            set = set.with(Category::Write);
        }
        if self.flags.has(Flag::ReadOnly) && !set.has(Category::Scripting) {
            set = set.with(Category::Read);
        }
        if self.flags.has(Flag::Admin) {
            set = set.with(Category::Admin).with(Category::Dangerous);
        }
        if self.flags.has(Flag::PubSub) {
            set = set.with(Category::PubSub);
        }
        if self.flags.has(Flag::Blocking) {
            set = set.with(Category::Blocking);
        }
        set.with(if self.flags.has(Flag::Fast) { Category::Fast } else { Category::Slow })
    }

    /// Panics, while compiling, on what cannot be true at once.
    const fn check(&self) {
        assert!(self.arity != 0, "a command needs an arity");
        assert!(!self.since.is_empty(), "a command needs a since");
        assert!(!self.summary.is_empty(), "a command needs a summary");
        assert!(self.handler.is_some() || !self.subcommands.is_empty(), "nothing runs this command");
        let (write, read) = (self.flags.has(Flag::Write), self.flags.has(Flag::ReadOnly));
        assert!(!(write && read), "a command is write or readonly, not both");
        assert!(!self.flags.has(Flag::DenyOom) || !read, "a readonly command needs no memory");
        assert!(!self.flags.has(Flag::Exclusive) || write, "only a write changes its keys");
        assert!(!self.flags.has(Flag::Fast) || !self.flags.has(Flag::Heavy), "a command is fast or heavy");
        super::syntax::check(self.syntax, self.keys.len());
        let mut i = 0;
        while i < self.keys.len() {
            self.keys[i].check(self.arity);
            i += 1;
        }
        assert!(
            !self.has_unknown_keys() || self.find_keys.is_some(),
            "unknown keys need a find_keys function"
        );
        check_all(self.subcommands);
    }

    const fn has_unknown_keys(&self) -> bool {
        let mut i = 0;
        while i < self.keys.len() {
            if self.keys[i].is_unknown() {
                return true;
            }
            i += 1;
        }
        false
    }
}

const fn check_all<H: 'static>(specs: &[Spec<H>]) {
    let mut i = 0;
    while i < specs.len() {
        specs[i].check();
        let mut j = 0;
        while j < i {
            assert!(!same(specs[i].name, specs[j].name), "two commands of one name");
            j += 1;
        }
        i += 1;
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len()
}

/// Checks the entries of one family file and hands them back. Used as `const COMMANDS: &[Command] = &family([..]);`.
pub const fn family<H: Copy + 'static, const N: usize>(specs: [Spec<H>; N]) -> [Spec<H>; N] {
    check_all(&specs);
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Spec<()> {
        Spec::new("x", ()).arity(2).since("1.0.0").summary("Does x.")
    }

    #[test]
    fn categories_follow_from_group_and_flags() {
        let spec = fine().group(Group::Hash).flags(&[Flag::Write, Flag::Fast]);
        assert_eq!(spec.acl_categories().names().collect::<Vec<_>>(), ["write", "hash", "fast"]);
        let spec = fine().group(Group::Server).flags(&[Flag::Admin]);
        assert_eq!(spec.acl_categories().names().collect::<Vec<_>>(), ["admin", "slow", "dangerous"]);
        let spec = fine().group(Group::Scripting).flags(&[Flag::ReadOnly]);
        assert_eq!(spec.acl_categories().names().collect::<Vec<_>>(), ["slow", "scripting"]);
    }

    #[test]
    fn a_container_has_no_category_of_its_group() {
        const SUBS: &[Spec<()>] = &[Spec::new("y", ()).arity(2).since("1.0.0").summary("Does y.")];
        let spec = Spec::container("x", SUBS).group(Group::Stream);
        assert_eq!(spec.acl_categories().names().collect::<Vec<_>>(), ["slow"]);
        assert!(spec.subcommand(b"Y").is_some() && spec.subcommand(b"z").is_none());
    }

    #[test]
    fn arity_counts_the_name() {
        assert!(fine().arity(2).takes(2) && !fine().arity(2).takes(3));
        assert!(fine().arity(-2).takes(3) && !fine().arity(-2).takes(1));
    }

    /// What the compiler would refuse in a `const`, tried at run time.
    fn refuses(spec: Spec<()>) -> bool {
        std::panic::catch_unwind(|| family([spec])).is_err()
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(!refuses(fine()));
        assert!(refuses(fine().flags(&[Flag::Write, Flag::ReadOnly])), "write and readonly");
        assert!(refuses(fine().summary("")), "no summary");
        assert!(refuses(fine().since("")), "no since");
        assert!(refuses(fine().keys(&const { [KeySpec::ro(2)] })), "a key after the last word");
        assert!(refuses(fine().syntax("[key")), "an open bracket");
        assert!(refuses(fine().syntax("key@0")), "an argument of a key spec that is not there");
        assert!(std::panic::catch_unwind(|| family([fine(), fine()])).is_err(), "one name twice");
        assert!(std::panic::catch_unwind(|| Spec::new("Get", ())).is_err(), "upper case");
        assert!(std::panic::catch_unwind(|| fine().arity(0)).is_err(), "arity 0");
    }
}
