//! Where the keys of a command are: Redis' key specs, and how to find the keys of a request with them.
//!
//! A spec says where a search begins (at a fixed word, after a keyword, or unknown) and how many keys stand there (a
//! range, or as many as a number says). The commands whose keys depend on more than that (SORT's STORE, MIGRATE's KEYS,
//! SET's GET) have a function of their own here, as in Redis. COMMAND GETKEYS and ACL checks use
//! [`Spec::keys_of`], the key locks [`Spec::lock_keys`]: a key that is not found here is neither shown nor locked.
//!
//! Pure functions of the request's words: no state, no lock.

use super::spec::{Flag, Spec};
use crate::base::number::parse_i64;
use crate::resp::Args;
use smallvec::SmallVec;

/// How a command uses a key, and what is unusual about the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are Redis' key flags")]
pub enum KeyFlag {
    Ro,
    Rw,
    Ow,
    Rm,
    Access,
    Update,
    Insert,
    Delete,
    NotKey,
    Incomplete,
    VariableFlags,
}

const SHOWN: &[(KeyFlag, &str)] = &[
    (KeyFlag::Ro, "RO"),
    (KeyFlag::Rw, "RW"),
    (KeyFlag::Ow, "OW"),
    (KeyFlag::Rm, "RM"),
    (KeyFlag::Access, "access"),
    (KeyFlag::Update, "update"),
    (KeyFlag::Insert, "insert"),
    (KeyFlag::Delete, "delete"),
    (KeyFlag::NotKey, "not_key"),
    (KeyFlag::Incomplete, "incomplete"),
    (KeyFlag::VariableFlags, "variable_flags"),
];

/// A set of [`KeyFlag`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFlags(u16);

impl KeyFlags {
    /// The set of `flags`.
    pub const fn of(flags: &[KeyFlag]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < flags.len() {
            bits |= 1 << flags[i] as u16;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `flag` is in the set.
    pub const fn has(self, flag: KeyFlag) -> bool {
        self.0 & (1 << flag as u16) != 0
    }

    const fn with(self, flag: KeyFlag) -> Self {
        Self(self.0 | (1 << flag as u16))
    }

    /// The names in the set, in Redis' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        SHOWN.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// Where a search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this word; the command's name is word 0.
    Index(i16),
    /// After the given word, looked for from `from` on (negative: from the end, backwards).
    Keyword {
        /// In upper case; compared in any case.
        word: &'static str,
        /// First word looked at.
        from: i16,
    },
    /// Nobody can say.
    Unknown,
}

/// How many keys stand where the search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`th word up to `last`: relative to the first key, or from the request's end if negative. With
    /// `limit` n above 1 only the first 1/n of the words are keys.
    Range {
        /// Last key.
        last: i16,
        /// Distance of two keys.
        step: u8,
        /// 0, or what the rest is divided by.
        limit: u8,
    },
    /// The word where the search began says how many; they follow it.
    Counted,
    /// Nobody can say.
    Unknown,
}

/// One key spec of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What the command does to these keys.
    pub flags: KeyFlags,
    /// Where they begin.
    pub begin: Begin,
    /// How many there are.
    pub find: Find,
    /// A remark, or empty.
    pub note: &'static str,
}

impl KeySpec {
    const fn one(flag: KeyFlag, index: i16) -> Self {
        let find = Find::Range { last: 0, step: 1, limit: 0 };
        Self { flags: KeyFlags::of(&[flag]), begin: Begin::Index(index), find, note: "" }
    }

    /// One key at word `index`, read only.
    pub const fn ro(index: i16) -> Self {
        Self::one(KeyFlag::Ro, index)
    }

    /// One key at word `index`, read and written.
    pub const fn rw(index: i16) -> Self {
        Self::one(KeyFlag::Rw, index)
    }

    /// One key at word `index`, overwritten whatever it held.
    pub const fn ow(index: i16) -> Self {
        Self::one(KeyFlag::Ow, index)
    }

    /// One key at word `index`, removed.
    pub const fn rm(index: i16) -> Self {
        Self::one(KeyFlag::Rm, index)
    }

    /// A word at `index` that hashes to a slot like a key but is none (a shard channel).
    pub const fn not_key(index: i16) -> Self {
        Self::one(KeyFlag::NotKey, index)
    }

    const fn with(mut self, flag: KeyFlag) -> Self {
        self.flags = self.flags.with(flag);
        self
    }

    /// Its value is given to the client.
    pub const fn access(self) -> Self {
        self.with(KeyFlag::Access)
    }

    /// Its value may change.
    pub const fn update(self) -> Self {
        self.with(KeyFlag::Update)
    }

    /// Something is added to its value.
    pub const fn insert(self) -> Self {
        self.with(KeyFlag::Insert)
    }

    /// Something of its value is removed.
    pub const fn delete(self) -> Self {
        self.with(KeyFlag::Delete)
    }

    /// The spec does not find all keys.
    pub const fn incomplete(self) -> Self {
        self.with(KeyFlag::Incomplete)
    }

    /// The flags depend on the arguments.
    pub const fn variable(self) -> Self {
        self.with(KeyFlag::VariableFlags)
    }

    /// More keys follow, up to `last`: relative to the first key, or from the request's end if negative.
    pub const fn to(mut self, last: i16) -> Self {
        self.find = Find::Range { last, step: 1, limit: 0 };
        self
    }

    /// Every `step`th word only. After [`KeySpec::to`].
    pub const fn step(mut self, step: u8) -> Self {
        if let Find::Range { last, limit, .. } = self.find {
            self.find = Find::Range { last, step, limit };
        }
        self
    }

    /// Only the first 1/`limit` of the words are keys. After [`KeySpec::to`].
    pub const fn limit(mut self, limit: u8) -> Self {
        if let Find::Range { last, step, .. } = self.find {
            self.find = Find::Range { last, step, limit };
        }
        self
    }

    /// The keys follow a number that counts them.
    pub const fn counted(mut self) -> Self {
        self.find = Find::Counted;
        self
    }

    /// The keys follow `word`, which is looked for from the given index on (negative: from the end, backwards).
    pub const fn after(mut self, word: &'static str) -> Self {
        if let Begin::Index(from) = self.begin {
            self.begin = Begin::Keyword { word, from };
        }
        self
    }

    /// Nobody can say where the keys are; the command has a `find_keys` function.
    pub const fn unknown(mut self) -> Self {
        self.begin = Begin::Unknown;
        self.find = Find::Unknown;
        self
    }

    /// A remark for `COMMAND INFO`.
    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// Whether the keys cannot be found by this spec.
    pub const fn is_unknown(&self) -> bool {
        matches!(self.begin, Begin::Unknown) || matches!(self.find, Find::Unknown)
    }

    /// Panics, while compiling, when the spec cannot fit a command of this arity.
    pub(super) const fn check(&self, arity: i32) {
        if let Begin::Index(index) = self.begin {
            assert!(index > 0, "word 0 is the command's name");
            assert!(arity < 0 || (index as i32) < arity, "a key spec begins after the last word");
            if let Find::Range { last, .. } = self.find {
                assert!(arity < 0 || ((index + last) as i32) < arity, "a key range ends after the last word");
                assert!(
                    arity < 0 || last >= 0 || index as i32 <= arity + last as i32,
                    "last key before the first"
                );
            }
        }
        if let Find::Range { step, .. } = self.find {
            assert!(step > 0, "a step of 0 never ends");
        }
        let ways = self.flags.has(KeyFlag::Ro) as u8
            + self.flags.has(KeyFlag::Rw) as u8
            + self.flags.has(KeyFlag::Ow) as u8
            + self.flags.has(KeyFlag::Rm) as u8
            + self.flags.has(KeyFlag::NotKey) as u8;
        assert!(ways == 1, "a key is one of RO, RW, OW, RM, not_key");
        let changes = self.flags.has(KeyFlag::Update)
            || self.flags.has(KeyFlag::Insert)
            || self.flags.has(KeyFlag::Delete);
        assert!(!(changes && self.flags.has(KeyFlag::Ro)), "a read-only key does not change");
    }
}

/// What a lock must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// Others may read it too.
    Read,
    /// Nobody else.
    Write,
}

/// A key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAt {
    /// Which word of the request it is.
    pub index: u32,
    /// How the command uses it, as Redis says it.
    pub flags: KeyFlags,
    /// How it must be locked.
    pub access: KeyAccess,
}

/// The keys of a request, in the order Redis gives them. A key may stand there twice.
pub type Keys = SmallVec<[KeyAt; 4]>;

/// The request is malformed, so its keys cannot be told. Its handler answers with the error before it touches data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKeys;

/// Finds the keys of a request and adds them; their access is filled in later.
pub type FindKeys = fn(args: Args<'_>, keys: &mut Keys) -> Result<(), NoKeys>;

impl<H: 'static> Spec<H> {
    /// The keys of a request as COMMAND GETKEYS and the ACL see them: all, or none if the request is malformed. Check
    /// the arity first.
    ///
    /// # Errors
    /// A key spec does not fit the words.
    pub fn keys_of(&self, args: Args<'_>) -> Result<Keys, NoKeys> {
        self.search(args, true)
    }

    /// The keys to lock before the command runs. A key spec that does not fit is passed over: the request may still
    /// be valid (PFMERGE with no source), and if not, its handler answers with the error before it touches a key.
    pub fn lock_keys(&self, args: Args<'_>) -> Keys {
        match (self.keys, self.find_keys) {
            // Nearly all commands have one key, at a fixed word.
            (
                [KeySpec { flags, begin: Begin::Index(index), find: Find::Range { last: 0, .. }, .. }],
                None,
            ) if !flags.has(KeyFlag::NotKey) => {
                let index = *index as u32;
                let is_there = (index as usize) < args.len();
                let key = is_there.then(|| KeyAt { index, flags: *flags, access: self.access_of(*flags) });
                key.into_iter().collect()
            }
            _ => self.search(args, false).unwrap_or_default(),
        }
    }

    fn search(&self, args: Args<'_>, strict: bool) -> Result<Keys, NoKeys> {
        let mut keys = Keys::new();
        if let Some(find) = self.find_keys {
            find(args, &mut keys)?;
        } else {
            for spec in self.keys.iter().filter(|spec| !spec.flags.has(KeyFlag::NotKey)) {
                let found = spec.find(args, &mut keys);
                if strict {
                    found?;
                }
            }
        }
        for key in &mut keys {
            key.access = self.access_of(key.flags);
        }
        Ok(keys)
    }

    /// A readonly command only reads, whatever the spec says of its caches; [`Flag::Exclusive`] is the contrary.
    fn access_of(&self, flags: KeyFlags) -> KeyAccess {
        let reads = flags.has(KeyFlag::Ro) && !self.flags.has(Flag::Exclusive);
        if reads || self.flags.has(Flag::ReadOnly) { KeyAccess::Read } else { KeyAccess::Write }
    }

    /// Whether requests of this command can have keys.
    pub fn has_keys(&self) -> bool {
        self.find_keys.is_some() || self.keys.iter().any(|spec| !spec.flags.has(KeyFlag::NotKey))
    }

    /// First key, last key (negative: from the end) and step, as `COMMAND` has shown them since its first days; zeros
    /// when there are none. What a triple cannot say is left out, and then [`Spec::has_movable_keys`].
    pub fn first_last_step(&self) -> (i64, i64, i64) {
        self.legacy_range().0
    }

    /// Whether the triple of [`Spec::first_last_step`] misses keys.
    pub fn has_movable_keys(&self) -> bool {
        self.legacy_range().1
    }

    fn legacy_range(&self) -> ((i64, i64, i64), bool) {
        let mut movable = false;
        let mut range: Option<(i64, i64, i64)> = None;
        for spec in self.keys {
            movable |= spec.flags.has(KeyFlag::Incomplete);
            let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                movable = true;
                continue;
            };
            let (first, step) = (i64::from(first), i64::from(step));
            let last = if last >= 0 { first + i64::from(last) } else { i64::from(last) };
            if self.keys.len() == 1 {
                return ((first, last, step), movable);
            }
            match range {
                _ if step != 1 => movable = true,
                Some((_, end, _)) if end != first - 1 => movable = true,
                Some((start, _, _)) => range = Some((start, last, 1)),
                None => range = Some((first, last, 1)),
            }
        }
        (range.unwrap_or((0, 0, 0)), movable)
    }
}

fn push(keys: &mut Keys, index: usize, flags: KeyFlags) {
    keys.push(KeyAt { index: index as u32, flags, access: KeyAccess::Write });
}

impl KeySpec {
    /// Adds the keys this spec finds.
    fn find(&self, args: Args<'_>, keys: &mut Keys) -> Result<(), NoKeys> {
        let first = match self.begin {
            Begin::Index(index) => index as usize,
            Begin::Keyword { word, from } => match find_word(args, word, from) {
                Some(at) => at + 1,
                None => return Ok(()),
            },
            Begin::Unknown => return Err(NoKeys),
        };
        let argc = args.len() as i64;
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let (first, last) = (first as i64, i64::from(last));
                let last = match limit {
                    _ if last >= 0 => first + last,
                    0 => argc + last,
                    limit => first + (argc - first) / i64::from(limit) + last,
                };
                (first, last, step)
            }
            Find::Counted if first as i64 >= argc => return Err(NoKeys),
            Find::Counted => {
                let count = parse_i64(args.at(first)).filter(|count| *count > 0).ok_or(NoKeys)?;
                (first as i64 + 1, (first as i64).saturating_add(count), 1)
            }
            Find::Unknown => return Err(NoKeys),
        };
        if first >= argc || last >= argc || last < first {
            return Err(NoKeys);
        }
        for index in (first..=last).step_by(usize::from(step)) {
            push(keys, index as usize, self.flags);
        }
        Ok(())
    }
}

/// The index of `word`, looked for from `from` on; a negative `from` counts from the end and looks backwards.
fn find_word(args: Args<'_>, word: &str, from: i16) -> Option<usize> {
    let is_word = |index: &usize| args.at(*index).eq_ignore_ascii_case(word.as_bytes());
    if from > 0 {
        // A keyword in last place has no key after it.
        (from as usize..args.len().saturating_sub(1)).find(is_word)
    } else {
        let start = args.len().checked_sub(usize::from(from.unsigned_abs()))?;
        (1..=start).rev().find(is_word)
    }
}

const OVERWRITE: KeyFlags = KeyFlags::of(&[KeyFlag::Ow, KeyFlag::Update]);
const UPDATE: KeyFlags = KeyFlags::of(&[KeyFlag::Rw, KeyFlag::Access, KeyFlag::Update]);

/// The key of SET: with GET its old value is given out too.
pub fn set_keys(args: Args<'_>, keys: &mut Keys) -> Result<(), NoKeys> {
    let gets = (3..args.len()).any(|index| args.at(index).eq_ignore_ascii_case(b"get"));
    push(keys, 1, if gets { UPDATE } else { OVERWRITE });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::spec::Flags;
    use crate::resp::OwnedArgs;

    fn keys(spec: Spec<()>, line: &str) -> Option<Vec<(u32, KeyAccess)>> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let found = spec.keys_of(OwnedArgs::from_slices(&words).args()).ok()?;
        Some(found.iter().map(|key| (key.index, key.access)).collect())
    }

    fn of(specs: &'static [KeySpec]) -> Spec<()> {
        Spec::new("x", ()).arity(-2).keys(specs)
    }

    const R: KeyAccess = KeyAccess::Read;
    const W: KeyAccess = KeyAccess::Write;

    #[test]
    fn ranges_count_from_the_front_or_the_end() {
        assert_eq!(keys(of(&const { [KeySpec::ro(1)] }), "get a"), Some(vec![(1, R)]));
        assert_eq!(keys(of(&const { [KeySpec::rm(1).to(-1)] }), "del a b"), Some(vec![(1, W), (2, W)]));
        assert_eq!(
            keys(of(&const { [KeySpec::ow(1).to(-1).step(2)] }), "mset a 1 b 2"),
            Some(vec![(1, W), (3, W)])
        );
        assert_eq!(keys(of(&const { [KeySpec::rw(1).to(-2)] }), "blpop a b 0"), Some(vec![(1, W), (2, W)]));
    }

    #[test]
    fn streams_are_the_first_half_after_the_keyword() {
        const READS: &[KeySpec] = &[KeySpec::ro(1).after("STREAMS").to(-1).limit(2)];
        assert_eq!(keys(of(READS), "xread count 1 streams a b 0 0"), Some(vec![(4, R), (5, R)]));
        assert_eq!(keys(of(READS), "xread count 1"), Some(vec![]));
    }

    #[test]
    fn a_wrong_count_of_keys_gives_none() {
        const COUNTED: &[KeySpec] = &[KeySpec::ro(1).counted()];
        assert_eq!(keys(of(COUNTED), "zunion 2 a b"), Some(vec![(2, R), (3, R)]));
        for line in [
            "zunion 0 a",
            "zunion 3 a b",
            "zunion x a",
            "zunion -1 a",
            "zunion 9223372036854775807 a",
            "zunion",
        ] {
            assert_eq!(keys(of(COUNTED), line), None, "{line}");
        }
    }

    #[test]
    fn what_fits_is_locked_even_if_another_spec_does_not_fit() {
        let merge = of(&const { [KeySpec::rw(1), KeySpec::ro(2).to(-1)] });
        assert_eq!(keys(merge, "pfmerge a"), None);
        let locked = merge.lock_keys(OwnedArgs::from_slices(&[b"pfmerge", b"a"]).args());
        assert_eq!(locked.iter().map(|key| (key.index, key.access)).collect::<Vec<_>>(), [(1, W)]);
    }

    #[test]
    fn a_readonly_command_locks_shared_and_an_exclusive_one_alone() {
        let mut spec = of(&const { [KeySpec::rw(1)] });
        spec.flags = Flags::of(&[Flag::ReadOnly]);
        assert_eq!(keys(spec, "pfcount a"), Some(vec![(1, R)]));
        let mut spec = of(&const { [KeySpec::ro(1)] });
        spec.flags = Flags::of(&[Flag::Write, Flag::Exclusive]);
        assert_eq!(keys(spec, "x a"), Some(vec![(1, W)]));
    }

    #[test]
    fn the_old_triple_joins_neighbours_and_leaves_out_the_rest() {
        let triple = |specs| (of(specs).first_last_step(), of(specs).has_movable_keys());
        assert_eq!(triple(&[]), ((0, 0, 0), false));
        assert_eq!(triple(&const { [KeySpec::ow(1).to(-1).step(2)] }), ((1, -1, 2), false));
        assert_eq!(triple(&const { [KeySpec::ow(2), KeySpec::ro(3).to(-1)] }), ((2, -1, 1), false));
        assert_eq!(triple(&const { [KeySpec::ow(1), KeySpec::ro(2).counted()] }), ((1, 1, 1), true));
        assert_eq!(triple(&const { [KeySpec::ro(1).counted()] }), ((0, 0, 0), true));
    }
}
