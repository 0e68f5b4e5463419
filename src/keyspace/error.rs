//! How a command's run can end without an answer, and the errors that are the client's own fault.

use super::stripes::StripeId;
use crate::encoding::Damaged;
use crate::encoding::head::DataType;
use crate::store::ReadError;
use crate::waiters::Service;
use smallvec::SmallVec;
use std::borrow::Cow;

/// The result of a handler, or of anything it calls.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Why a run ended early. All but `Error` and `Unavailable` mean: drop what was gathered, and run again later.
#[derive(Debug)]
pub enum Stop {
    /// The client's fault, in Redis' words.
    Error(Error),
    /// A read would have touched the disk.
    Cold,
    /// Too much work for a worker: run on the pool.
    Heavy,
    /// Nothing to take yet: wait until one of the keys is fed.
    Wait(Wait),
    /// RocksDB takes no writes at the moment.
    Stall,
    /// Somebody holds the stripe of a key that a script has come upon.
    Stripe(StripeId),
    /// It can only be run alone in the keyspace: FLUSHALL and the like within a script or EXEC.
    Alone,
    /// The database cannot be read or written; the text says why.
    Unavailable(String),
    /// What has been read cannot be right.
    Damaged(Damaged),
}

/// What a blocking command waits for.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The type a key must have to serve the command.
    pub wants: DataType,
    /// When it gives up, in unix milliseconds; none for never.
    pub deadline_ms: Option<u64>,
    /// What it answers then.
    pub on_timeout: TimeoutReply,
    /// Positions of the keys among the command's arguments.
    pub keys: SmallVec<[usize; 4]>,
    /// How it stands to the others that wait for the same keys.
    pub service: Service,
    /// Arguments that are replaced when it runs again, by their positions.
    pub rewrites: Vec<(usize, Vec<u8>)>,
}

impl Wait {
    /// A wait of a command that takes what comes: one waiter is served at a time.
    pub fn to_take(
        wants: DataType,
        deadline_ms: Option<u64>,
        on_timeout: TimeoutReply,
        keys: SmallVec<[usize; 4]>,
    ) -> Wait {
        Wait { wants, deadline_ms, on_timeout, keys, service: Service::Takes, rewrites: Vec::new() }
    }
}

/// What a blocking command answers when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutReply {
    /// A null array.
    NullArray,
    /// A null.
    Null,
}

/// The client's fault. `Display` gives Redis' text, error code first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// Options that make no sense together or at all.
    #[error("ERR syntax error")]
    Syntax,
    /// Not a 64-bit signed integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// Not a float.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// An index outside the value.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// A key that must exist does not.
    #[error("ERR no such key")]
    NoSuchKey,
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    /// A key or element longer than a row key may be.
    #[error("ERR key or element is longer than the {0} bytes that can be stored")]
    TooLong(usize),
    /// Any other text, error code first.
    #[error("{0}")]
    Text(Cow<'static, str>),
    /// A text that quotes bytes of the client, error code first. `Display` shows what is not UTF-8 as U+FFFD.
    #[error("{}", String::from_utf8_lossy(.0))]
    Bytes(Vec<u8>),
}

impl Error {
    /// An error with a fixed text, error code first.
    pub const fn text(text: &'static str) -> Error {
        Error::Text(Cow::Borrowed(text))
    }

    /// An error that quotes a word of the client, error code first. As in Redis, a word ends at a zero byte.
    pub fn quoting(before: &str, word: &[u8], after: &str) -> Error {
        let shown = word.split(|&byte| byte == 0).next().unwrap_or_default();
        Error::Bytes([before.as_bytes(), shown, after.as_bytes()].concat())
    }

    /// What the client is answered, error code first; it may hold any bytes.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Error::Text(text) => Cow::Borrowed(text.as_bytes()),
            Error::Bytes(bytes) => Cow::Borrowed(bytes),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }
}

impl Stop {
    /// Why what is stored cannot be read or written, if that is it.
    pub fn trouble(self) -> Option<String> {
        match self {
            Stop::Unavailable(reason) => Some(reason),
            Stop::Damaged(damaged) => Some(damaged.to_string()),
            _ => None,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Stop {
        match error {
            ReadError::Cold => Stop::Cold,
            ReadError::Failed(reason) => Stop::Unavailable(reason),
        }
    }
}

impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Stop {
        Stop::Damaged(damaged)
    }
}

/// Shorthand for handlers: fails with a fixed text, error code first.
pub fn fail<T>(text: &'static str) -> Outcome<T> {
    Err(Stop::Error(Error::text(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_keeps_its_bytes_and_ends_at_a_zero() {
        let error = Error::quoting("ERR no '", b"\xff\xfe\0z", "' here");
        assert_eq!(&*error.to_bytes(), b"ERR no '\xff\xfe' here");
        assert_eq!(error.to_string(), "ERR no '\u{fffd}\u{fffd}' here");
        assert_eq!(&*Error::Syntax.to_bytes(), b"ERR syntax error");
    }
}
