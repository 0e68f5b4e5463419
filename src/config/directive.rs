//! What a directive is: its names, the values it takes, when it may change, and what Tuff does with it.
//!
//! A directive is one entry of the `const` tables (`table_obeyed`, `table_accepted`), built by the functions here. From the
//! entries come the reading of files and options, CONFIG GET, SET and REWRITE, and the texts of warnings: nothing else in
//! this folder lists names. `index_of` runs at compile time, so a getter with a misspelt name does not compile.

/// One directive.
#[derive(Clone, Copy)]
pub struct Directive {
    /// Its name in CONFIG REWRITE.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// The values it takes, and its default.
    pub kind: Kind,
    /// When it may change.
    pub when: When,
    /// What Tuff does with it.
    pub standing: Standing,
    /// One sentence for people.
    pub doc: &'static str,
    /// CONFIG GET shows it to patterns too, not only to its exact name.
    pub listed: bool,
}

/// When a directive may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// By CONFIG SET.
    Runtime,
    /// In the file and on the command line.
    Start,
    /// Redis changes it by CONFIG SET, Tuff only at a start: CONFIG SET checks the value, and takes only the present one.
    Restart,
    /// As `Runtime` where `enable-protected-configs` allows it.
    Protected,
}

/// What Tuff does with a directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// What Redis does.
    Obeyed,
    /// Something near it, which the text tells.
    Mapped(&'static str),
    /// Nothing, for the reason given: the value is kept, and a warning says so.
    Ignored(&'static str),
}

/// Reads one value: its canonical text, or why not.
pub type ReadText = fn(&str) -> Result<String, &'static str>;
/// Reads a list: the canonical text, given the present one, or why not.
pub type ReadList = fn(&[&str], &str) -> Result<String, &'static str>;

/// The values a directive takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo(bool),
    /// A whole number. Below zero an `unsigned` one answers another error.
    Integer {
        /// The default.
        default: i64,
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// Redis keeps it in an unsigned variable.
        unsigned: bool,
        /// What lies outside these is accepted, and means the nearer of them.
        clamp: Option<(i64, i64)>,
    },
    /// File permissions in octal.
    Octal(i64),
    /// A number of bytes, with a unit if one likes.
    Memory {
        /// The default.
        default: i64,
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// Redis keeps it in an unsigned variable.
        unsigned: bool,
    },
    /// A number of bytes or a percentage of `maxmemory` (kept as a negative number).
    MemoryOrPercent(i64),
    /// One of some words.
    Choice {
        /// The words.
        names: &'static [&'static str],
        /// Which of them is the default.
        default: usize,
    },
    /// One value.
    Text {
        /// The default.
        default: &'static str,
        /// Checks it.
        read: ReadText,
    },
    /// Several values, or one that holds several between blanks.
    List {
        /// The default.
        default: &'static str,
        /// Checks them.
        read: ReadList,
        /// Each line of a file adds to what the lines before it said.
        adds: bool,
        /// How many words CONFIG REWRITE puts into a line; 0: all.
        line_words: usize,
    },
    /// A line of a file that is no setting.
    Line(Line),
}

/// Lines of a file that set no value CONFIG GET could show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Reads another file.
    Include,
    /// Gives a command another name.
    RenameCommand,
    /// Loads a module.
    LoadModule,
    /// Declares a user.
    User,
    /// Belongs to Sentinel.
    Sentinel,
    /// Old and without effect in Redis too.
    Retired,
}

/// The value of a directive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Yes (1) or no, a number, bytes, a percentage below zero, the place of a chosen word.
    Number(i64),
    /// Canonical text.
    Text(String),
}

impl Directive {
    const fn new(name: &'static str, kind: Kind) -> Directive {
        Directive {
            name,
            aliases: &[],
            kind,
            when: When::Runtime,
            standing: Standing::Obeyed,
            doc: "",
            listed: true,
        }
    }

    /// Its other names.
    pub const fn or(mut self, aliases: &'static [&'static str]) -> Directive {
        self.aliases = aliases;
        self
    }

    /// Only the file and the command line set it.
    pub const fn at_start(mut self) -> Directive {
        self.when = When::Start;
        self
    }

    /// Redis changes it while running, Tuff does not.
    pub const fn at_restart(mut self) -> Directive {
        self.when = When::Restart;
        self
    }

    /// CONFIG SET needs `enable-protected-configs`.
    pub const fn protected(mut self) -> Directive {
        self.when = When::Protected;
        self
    }

    /// Tuff does something near it.
    pub const fn mapped(mut self, here: &'static str) -> Directive {
        self.standing = Standing::Mapped(here);
        self
    }

    /// Tuff accepts it, and does nothing.
    pub const fn ignored(mut self, why: &'static str) -> Directive {
        self.standing = Standing::Ignored(why);
        self
    }

    /// What it is for.
    pub const fn doc(mut self, doc: &'static str) -> Directive {
        self.doc = doc;
        self
    }

    /// Patterns of CONFIG GET do not find it.
    pub const fn unlisted(mut self) -> Directive {
        self.listed = false;
        self
    }

    /// Numbers outside these are accepted, and mean the nearer of them.
    pub const fn clamped(mut self, least: i64, most: i64) -> Directive {
        if let Kind::Integer { default, min, max, unsigned, .. } = self.kind {
            self.kind = Kind::Integer { default, min, max, unsigned, clamp: Some((least, most)) };
        }
        self
    }

    /// Whether it has a value at all.
    pub const fn is_setting(&self) -> bool {
        !matches!(self.kind, Kind::Line(_))
    }

    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Its default.
    pub fn default(&self) -> Value {
        match self.kind {
            Kind::YesNo(yes) => Value::Number(yes.into()),
            Kind::Integer { default, .. } | Kind::Memory { default, .. } => Value::Number(default),
            Kind::Octal(default) | Kind::MemoryOrPercent(default) => Value::Number(default),
            Kind::Choice { default, .. } => Value::Number(default as i64),
            Kind::Text { default, .. } | Kind::List { default, .. } => Value::Text(default.to_owned()),
            Kind::Line(_) => Value::Text(String::new()),
        }
    }
}

/// `yes` or `no`.
pub const fn yes_no(name: &'static str, default: bool) -> Directive {
    Directive::new(name, Kind::YesNo(default))
}

/// A number that may be below zero.
pub const fn signed(name: &'static str, default: i64, min: i64, max: i64) -> Directive {
    Directive::new(name, Kind::Integer { default, min, max, unsigned: false, clamp: None })
}

/// A number that Redis keeps in an `int`, from `min`.
pub const fn int(name: &'static str, default: i64, min: i64) -> Directive {
    signed(name, default, min, i32::MAX as i64)
}

/// A number from `min` to `max`.
pub const fn int_to(name: &'static str, default: i64, min: i64, max: i64) -> Directive {
    signed(name, default, min, max)
}

/// A number that Redis keeps in an unsigned variable.
pub const fn unsigned(name: &'static str, default: i64, min: i64, max: i64) -> Directive {
    Directive::new(name, Kind::Integer { default, min, max, unsigned: true, clamp: None })
}

/// File permissions.
pub const fn octal(name: &'static str, default: i64) -> Directive {
    Directive::new(name, Kind::Octal(default))
}

/// Bytes, at least `min`.
pub const fn memory(name: &'static str, default: i64, min: i64) -> Directive {
    Directive::new(name, Kind::Memory { default, min, max: i64::MAX, unsigned: true })
}

/// Bytes from `min` to `max`.
pub const fn memory_to(name: &'static str, default: i64, min: i64, max: i64) -> Directive {
    Directive::new(name, Kind::Memory { default, min, max, unsigned: false })
}

/// Bytes, at least `min`, in a variable that Redis has signed.
pub const fn signed_memory(name: &'static str, default: i64, min: i64) -> Directive {
    Directive::new(name, Kind::Memory { default, min, max: i64::MAX, unsigned: false })
}

/// Bytes or a percentage.
pub const fn memory_or_percent(name: &'static str, default: i64) -> Directive {
    Directive::new(name, Kind::MemoryOrPercent(default))
}

/// One of these words; `default` is the place of one.
pub const fn choice(name: &'static str, names: &'static [&'static str], default: usize) -> Directive {
    Directive::new(name, Kind::Choice { names, default })
}

/// Any text.
pub const fn text(name: &'static str, default: &'static str) -> Directive {
    checked_text(name, default, super::lists::read_any)
}

/// Text that `read` checks.
pub const fn checked_text(name: &'static str, default: &'static str, read: ReadText) -> Directive {
    Directive::new(name, Kind::Text { default, read })
}

/// A list that `read` checks.
pub const fn list(name: &'static str, default: &'static str, read: ReadList) -> Directive {
    Directive::new(name, Kind::List { default, read, adds: false, line_words: 0 })
}

/// A list that CONFIG REWRITE writes in lines of so many words. If it `adds`, a file's lines add to each other.
pub const fn list_in_lines(
    name: &'static str,
    default: &'static str,
    read: ReadList,
    adds: bool,
    line_words: usize,
) -> Directive {
    Directive::new(name, Kind::List { default, read, adds, line_words })
}

/// A line that is no setting.
pub const fn line(name: &'static str, line: Line) -> Directive {
    Directive::new(name, Kind::Line(line)).at_start().unlisted()
}

/// The place of `name` in a table. For constants only: there, a name that is not in the table does not compile.
pub const fn index_of(table: &[Directive], name: &str) -> usize {
    let mut index = 0;
    // Beyond the last entry this index is out of bounds, which ends the compilation.
    while !same(table[index].name, name) {
        index += 1;
    }
    index
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}
