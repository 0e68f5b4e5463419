//! Whom CLIENT LIST and CLIENT KILL mean: the words of the request as data. Pure functions, no locks.

use crate::base::number::parse_i64;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Args;
use crate::session::{ClientKind, KillFilter};

/// Whom CLIENT LIST lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListOrder {
    /// Everyone.
    All,
    /// Those of a kind.
    Kind(ClientKind),
    /// Those with these ids, in this order.
    Ids(Vec<i64>),
}

/// Whom CLIENT KILL ends, and how it answers.
#[derive(Debug)]
pub(super) struct KillOrder {
    /// All but the connection to be spared.
    pub(super) filter: KillFilter,
    /// The connection that asks is spared.
    pub(super) spare_self: bool,
    /// The reply is how many; otherwise OK or an error.
    pub(super) answers_count: bool,
}

/// Reads the words behind CLIENT LIST.
pub(super) fn list_order(args: Args<'_>) -> Outcome<ListOrder> {
    let is = |word: &[u8]| args.at(0).eq_ignore_ascii_case(word);
    match args.len() {
        0 => Ok(ListOrder::All),
        2 if is(b"type") => Ok(ListOrder::Kind(client_kind(args.at(1))?)),
        2.. if is(b"id") => {
            let ids: Option<Vec<i64>> = args.iter().skip(1).map(parse_i64).collect();
            ids.map_or_else(|| fail("ERR Invalid client ID"), |ids| Ok(ListOrder::Ids(ids)))
        }
        _ => Err(Error::Syntax.into()),
    }
}

fn client_kind(word: &[u8]) -> Outcome<ClientKind> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(ClientKind::Normal),
        b"slave" | b"replica" => Ok(ClientKind::Replica),
        b"pubsub" => Ok(ClientKind::PubSub),
        b"master" => Ok(ClientKind::Primary),
        _ => Err(Error::quoting("ERR Unknown client type '", word, "'").into()),
    }
}

/// Reads the words behind CLIENT KILL: one address (the old form), or pairs of a filter and its value.
pub(super) fn kill_order(args: Args<'_>) -> Outcome<KillOrder> {
    let mut filter = KillFilter::default();
    if args.len() == 1 {
        filter.address = Some(text(args.at(0)));
        return Ok(KillOrder { filter, spare_self: false, answers_count: false });
    }
    let mut spare_self = true;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let Some(value) = words.next() else { return Err(Error::Syntax.into()) };
        match word.to_ascii_lowercase().as_slice() {
            b"id" => filter.ids = vec![client_id(value)?],
            b"maxage" => filter.age_seconds_min = Some(age_seconds(value)?),
            b"type" => filter.kind = Some(client_kind(value)?),
            b"addr" => filter.address = Some(text(value)),
            b"laddr" => filter.local_address = Some(text(value)),
            b"user" if value == b"default" => filter.user = Some(text(value)),
            b"user" => return Err(Error::quoting("ERR No such user '", value, "'").into()),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => spare_self = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => spare_self = false,
            _ => return Err(Error::Syntax.into()),
        }
    }
    Ok(KillOrder { filter, spare_self, answers_count: true })
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn client_id(word: &[u8]) -> Outcome<u64> {
    match parse_i64(word).and_then(|id| u64::try_from(id).ok()) {
        Some(id) if id > 0 => Ok(id),
        _ => fail("ERR client-id should be greater than 0"),
    }
}

fn age_seconds(word: &[u8]) -> Outcome<u64> {
    let Some(age) = parse_i64(word) else { return fail("ERR maxage is not an integer or out of range") };
    match u64::try_from(age) {
        Ok(age) if age > 0 => Ok(age),
        _ => fail("ERR maxage should be greater than 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn words(line: &str) -> OwnedArgs {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        OwnedArgs::from_slices(&words)
    }

    fn error_of<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
        match outcome {
            Err(Stop::Error(error)) => error.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn killed(line: &str) -> KillOrder {
        kill_order(words(line).args()).unwrap()
    }

    #[test]
    fn list_takes_nothing_a_type_or_ids() {
        let order = |line: &str| list_order(words(line).args()).unwrap();
        assert_eq!(order(""), ListOrder::All);
        assert_eq!(order("TYPE Slave"), ListOrder::Kind(ClientKind::Replica));
        assert_eq!(order("id 3 -1 3"), ListOrder::Ids(vec![3, -1, 3]));
    }

    #[test]
    fn list_refuses_as_redis_does() {
        let error = |line: &str| error_of(list_order(words(line).args()));
        for line in ["foo", "id", "type", "type normal id 3", "skipme yes"] {
            assert_eq!(error(line), "ERR syntax error", "{line}");
        }
        assert_eq!(error("id 3 foo"), "ERR Invalid client ID");
        assert_eq!(error("type foo"), "ERR Unknown client type 'foo'");
    }

    #[test]
    fn the_old_form_of_kill_is_an_address_and_spares_nobody() {
        let order = killed("addr");
        assert_eq!(order.filter.address.as_deref(), Some("addr"));
        assert!(!order.spare_self && !order.answers_count);
    }

    #[test]
    fn kill_filters_add_up_and_the_last_of_a_name_counts() {
        let order = killed("ID 7 id 8 Type normal USER default laddr [::1]:1 maxage 5 SKIPME no");
        assert_eq!(order.filter.ids, [8]);
        assert_eq!((order.filter.kind, order.filter.age_seconds_min), (Some(ClientKind::Normal), Some(5)));
        assert_eq!(order.filter.local_address.as_deref(), Some("[::1]:1"));
        assert!(!order.spare_self && order.answers_count);
        assert!(killed("id 7").spare_self);
        assert_eq!(killed("type pubsub").filter.kind, Some(ClientKind::PubSub));
    }

    #[test]
    fn kill_refuses_as_redis_does() {
        let error = |line: &str| error_of(kill_order(words(line).args()));
        for line in ["foo bar", "id 1 foo", "id 1 id", "skipme maybe"] {
            assert_eq!(error(line), "ERR syntax error", "{line}");
        }
        for line in ["id x", "id 0", "id -5", "id 99999999999999999999"] {
            assert_eq!(error(line), "ERR client-id should be greater than 0", "{line}");
        }
        assert_eq!(error("maxage x"), "ERR maxage is not an integer or out of range");
        assert_eq!(error("maxage 0"), "ERR maxage should be greater than 0");
        assert_eq!(error("type foo"), "ERR Unknown client type 'foo'");
        assert_eq!(error("user nobody"), "ERR No such user 'nobody'");
    }
}
