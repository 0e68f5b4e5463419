//! The arguments of a request, borrowed or owned.
//!
//! [`Args`] is a view over one buffer and a list of ranges in it: two slices, copied freely, never
//! allocated. [`OwnedArgs`] is the same with buffer and ranges of its own, for a request that outlives
//! the query buffer: queued by MULTI, blocked, or parked for the disk. Its clones share one copy.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Where one argument lies in its buffer, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgRange {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl ArgRange {
    /// The range of `len` bytes from `start` on.
    pub fn new(start: usize, len: usize) -> ArgRange {
        ArgRange { start, len }
    }
}

/// A borrowed view of a request's arguments; the command's name is argument 0.
#[derive(Clone, Copy, Default)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// The view of these ranges of `bytes`. A range outside of the buffer reads as empty.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Args<'a> {
        Args { bytes, ranges }
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`, or nothing past the end.
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.ranges.get(i).map(|&range| self.bytes_of(range))
    }

    /// Argument `i`, or an empty text past the end.
    pub fn at(&self, i: usize) -> &'a [u8] {
        self.get(i).unwrap_or_default()
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let args = *self;
        args.ranges.iter().map(move |&range| args.bytes_of(range))
    }

    /// The arguments from `n` on; none if there are not so many.
    pub fn skip(&self, n: usize) -> Args<'a> {
        self.slice(n, self.len())
    }

    /// The arguments `from..to`, as far as there are any.
    pub fn slice(&self, from: usize, to: usize) -> Args<'a> {
        let to = to.min(self.len());
        Args { bytes: self.bytes, ranges: &self.ranges[from.min(to)..to] }
    }

    /// The bytes of all arguments together.
    pub fn bytes_len(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    fn bytes_of(&self, range: ArgRange) -> &'a [u8] {
        let end = range.start.saturating_add(range.len);
        self.bytes.get(range.start..end).unwrap_or_default()
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

/// Arguments that own their bytes; cheap to clone, shareable between threads.
#[derive(Clone)]
pub struct OwnedArgs {
    request: Arc<Request>,
}

struct Request {
    bytes: Bytes,
    ranges: Box<[ArgRange]>,
}

impl OwnedArgs {
    /// A copy of a borrowed view.
    pub fn from_args(args: Args<'_>) -> OwnedArgs {
        OwnedArgs::collect(args.iter())
    }

    /// These ranges of a request, which is taken over as it is: nothing is copied.
    pub(super) fn of_request(bytes: Bytes, ranges: &[ArgRange]) -> OwnedArgs {
        OwnedArgs { request: Arc::new(Request { bytes, ranges: ranges.into() }) }
    }

    /// A copy of these arguments.
    pub fn from_slices(args: &[&[u8]]) -> OwnedArgs {
        OwnedArgs::collect(args.iter().copied())
    }

    fn collect<'a>(args: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> OwnedArgs {
        let mut bytes = Vec::with_capacity(args.clone().map(<[u8]>::len).sum());
        let mut ranges = Vec::with_capacity(args.len());
        for arg in args {
            ranges.push(ArgRange::new(bytes.len(), arg.len()));
            bytes.extend_from_slice(arg);
        }
        let request = Request { bytes: bytes.into(), ranges: ranges.into_boxed_slice() };
        OwnedArgs { request: Arc::new(request) }
    }

    /// The view of these arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.request.bytes, &self.request.ranges)
    }

    /// The memory this request takes, in bytes; clones share it.
    pub fn bytes(&self) -> usize {
        size_of::<OwnedArgs>()
            + size_of::<Request>()
            + self.request.bytes.len()
            + self.request.ranges.len() * size_of::<ArgRange>()
    }
}

impl fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.args().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{ArgRange, Args, OwnedArgs};

    fn texts<'a>(args: Args<'a>) -> Vec<&'a [u8]> {
        args.iter().collect()
    }

    #[test]
    fn views_slice_without_ever_panicking() {
        let owned = OwnedArgs::from_slices(&[b"SET", b"", b"value"]);
        let args = owned.args();
        assert_eq!((args.len(), args.bytes_len()), (3, 8));
        assert_eq!(
            (args.get(1), args.get(3), args.at(2), args.at(9)),
            (Some(&b""[..]), None, &b"value"[..], &b""[..])
        );
        assert_eq!(texts(args.skip(1)), [&b""[..], b"value"]);
        assert_eq!(texts(args.slice(0, 1)), [&b"SET"[..]]);
        assert!(args.skip(7).is_empty() && args.slice(2, 1).is_empty() && args.slice(5, 9).is_empty());
        assert_eq!(args.iter().next_back(), Some(&b"value"[..]));
    }

    #[test]
    fn an_owned_copy_of_a_part_holds_only_that_part() {
        let owned = OwnedArgs::from_slices(&[&[b'x'; 1000], b"key"]);
        let copy = OwnedArgs::from_args(owned.args().skip(1));
        assert_eq!(texts(copy.clone().args()), [&b"key"[..]]);
        assert!(copy.bytes() < 200 && owned.bytes() > 1000);
    }

    #[test]
    fn a_range_outside_of_the_buffer_reads_as_empty() {
        let ranges = [ArgRange::new(1, 2), ArgRange::new(2, 9), ArgRange::new(usize::MAX, 2)];
        assert_eq!(texts(Args::new(b"abc", &ranges)), [&b"bc"[..], b"", b""]);
    }
}
