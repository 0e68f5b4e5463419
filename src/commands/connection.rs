//! The connection to the server: PING, ECHO, HELLO, AUTH, SELECT, RESET, QUIT.
//!
//! There is one user, `default`, whose password is `requirepass`. Nothing here changes the connection itself: each command says
//! what is to change as an effect, applied when its reply is certain.

use super::client::check_name;
use super::database::database_number;
use super::pubsub::listens;
use crate::base::number::parse_i64;
use crate::dispatch::spec::Flag::{AllowBusy, Fast, Loading, NoAuth, NoScript, Stale};
use crate::dispatch::spec::{Group, family};
use crate::dispatch::{Call, Command};
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::{Args, Proto, Reply};
use crate::session::Effect;

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("auth", auth)
        .arity(-2)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .group(Group::Connection)
        .since("1.0.0")
        .complexity("O(N)")
        .summary("Logs the connection in.")
        .syntax("[username^6.0.0] password"),
    Command::new("echo", echo)
        .arity(2)
        .flags(&[Loading, Stale, Fast])
        .group(Group::Connection)
        .since("1.0.0")
        .summary("Answers what it was given.")
        .syntax("message"),
    Command::new("hello", hello)
        .arity(-1)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .group(Group::Connection)
        .since("6.0.0")
        .summary("Chooses the protocol and introduces client and server to each other.")
        .syntax("[arguments(protover:int [AUTH auth(username password)] [SETNAME clientname])]"),
    Command::new("ping", ping)
        .arity(-1)
        .flags(&[Fast])
        .group(Group::Connection)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .since("1.0.0")
        .summary("Asks whether the server is there.")
        .syntax("[message]"),
    Command::new("quit", quit)
        .arity(-1)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .group(Group::Connection)
        .since("1.0.0")
        .summary("Ends the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    Command::new("reset", reset)
        .arity(1)
        .flags(&[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy])
        .group(Group::Connection)
        .since("6.2.0")
        .summary("Puts the connection back to its first state."),
    Command::new("select", select)
        .arity(2)
        .flags(&[Loading, Stale, Fast])
        .group(Group::Connection)
        .since("1.0.0")
        .summary("Chooses the database.")
        .syntax("index:int"),
]);

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn ping(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() <= 2 && reply.proto() == Proto::Resp2 && listens(call) {
        // A listener must be able to tell it from a message.
        reply.array(2);
        reply.bulk_str("pong");
        reply.bulk(call.args.at(1));
        return Ok(());
    }
    match call.args.len() {
        1 => reply.simple("PONG"),
        2 => reply.bulk(call.args.at(1)),
        _ => return Err(Error::Arity("ping".into()).into()),
    }
    Ok(())
}

fn echo(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.bulk(call.args.at(1));
    Ok(())
}

fn quit(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::Close);
    reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::Reset);
    reply.simple("RESET");
    Ok(())
}

fn select(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let number = database_number(call, call.args.at(1))?;
    call.database = number;
    call.effects.push(Effect::Select(number));
    reply.ok();
    Ok(())
}

/// Whether the default user's password is this one; an empty `requirepass` takes every one. The time taken does not tell
/// where the first difference is.
fn is_password(required: &[u8], given: &[u8]) -> bool {
    let mut difference = required.len() ^ given.len();
    for (wanted, byte) in required.iter().cycle().zip(given) {
        difference |= usize::from(wanted ^ byte);
    }
    required.is_empty() || difference == 0
}

/// Checks a user and password.
fn check_login(call: &Call<'_>, user: &[u8], password: &[u8]) -> Outcome {
    let required = call.node.config.requirepass();
    if user == b"default" && is_password(required.as_bytes(), password) {
        Ok(())
    } else {
        fail(WRONG_PASSWORD)
    }
}

fn auth(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (user, password) = match call.args.len() {
        2 if call.node.config.requirepass().is_empty() => {
            return fail(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            );
        }
        2 => (&b"default"[..], call.args.at(1)),
        3 => (call.args.at(1), call.args.at(2)),
        _ => return Err(Error::Syntax.into()),
    };
    check_login(call, user, password)?;
    call.effects.push(Effect::Authenticate);
    reply.ok();
    Ok(())
}

/// What HELLO was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct HelloOptions<'a> {
    proto: Option<i64>,
    login: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

/// Reads the words behind HELLO.
fn hello_options(args: Args<'_>) -> Outcome<HelloOptions<'_>> {
    let mut options = HelloOptions::default();
    let Some(version) = args.get(0) else { return Ok(options) };
    let Some(version) = parse_i64(version) else {
        return fail("ERR Protocol version is not an integer or out of range");
    };
    if !(2..=3).contains(&version) {
        return fail("NOPROTO unsupported protocol version");
    }
    options.proto = Some(version);
    let mut index = 1;
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        if word.eq_ignore_ascii_case(b"auth") && left >= 2 {
            options.login = Some((args.at(index + 1), args.at(index + 2)));
            index += 3;
        } else if word.eq_ignore_ascii_case(b"setname") && left >= 1 {
            let name = args.at(index + 1);
            check_name(name)?;
            options.name = Some(name);
            index += 2;
        } else {
            return Err(Error::quoting("ERR Syntax error in HELLO option '", word, "'").into());
        }
    }
    Ok(options)
}

fn hello(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = hello_options(call.args.skip(1))?;
    if let Some((user, password)) = options.login {
        check_login(call, user, password)?;
        call.effects.push(Effect::Authenticate);
    } else if !call.session.authenticated {
        return fail(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = options.name {
        call.effects.push(Effect::SetName(name.into()));
    }
    let proto = match options.proto {
        None => reply.proto(),
        Some(3) => Proto::Resp3,
        Some(_) => Proto::Resp2,
    };
    if options.proto.is_some() {
        call.effects.push(Effect::SetProto(proto));
    }
    // The reply is already in the protocol chosen.
    let mut written = Vec::new();
    introduce(&mut Reply::new(&mut written, proto), call.session.client.id);
    reply.raw(&written);
    Ok(())
}

/// The map by which the server introduces itself.
fn introduce(reply: &mut Reply<'_>, client: u64) {
    let version = if reply.proto() == Proto::Resp3 { 3 } else { 2 };
    reply.map(7);
    text_pair(reply, "server", "redis");
    text_pair(reply, "version", crate::base::REDIS_VERSION);
    reply.bulk_str("proto");
    reply.integer(version);
    reply.bulk_str("id");
    reply.integer(i64::try_from(client).unwrap_or(i64::MAX));
    text_pair(reply, "mode", "standalone");
    text_pair(reply, "role", "master");
    reply.bulk_str("modules");
    reply.array(0);
}

fn text_pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk_str(name);
    reply.bulk_str(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Stop;
    use crate::resp::OwnedArgs;

    fn check(words: &[&[u8]], expected: Result<HelloOptions<'_>, &str>) {
        let owned = OwnedArgs::from_slices(words);
        let said = hello_options(owned.args()).map_err(|stop| match stop {
            Stop::Error(error) => error.to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(said, expected.map_err(str::to_owned));
    }

    #[test]
    fn hello_takes_version_login_and_name() {
        check(&[], Ok(HelloOptions::default()));
        let all = HelloOptions { proto: Some(3), login: Some((b"default", b"pw")), name: Some(b"me") };
        check(&[b"3", b"SETNAME", b"me", b"auth", b"default", b"pw"], Ok(all));
    }

    #[test]
    fn hello_refuses_in_the_order_of_the_words() {
        check(&[b"x", b"foo"], Err("ERR Protocol version is not an integer or out of range"));
        check(&[b"4", b"foo"], Err("NOPROTO unsupported protocol version"));
        check(&[b"2", b"foo"], Err("ERR Syntax error in HELLO option 'foo'"));
        check(&[b"2", b"auth", b"default"], Err("ERR Syntax error in HELLO option 'auth'"));
        let bad_name = "ERR Client names cannot contain spaces, newlines or special characters.";
        check(&[b"2", b"setname", b"a b", b"foo"], Err(bad_name));
    }

    #[test]
    fn hello_answers_seven_pairs() {
        let said = |proto| {
            let mut out = Vec::new();
            introduce(&mut Reply::new(&mut out, proto), 7);
            String::from_utf8_lossy(&out).replace("\r\n", " ")
        };
        let rest = "$6 server $5 redis $7 version $5 8.2.3 $5 proto :2 $2 id :7 $4 mode $10 standalone $4 role $6 master $7 \
                    modules *0 ";
        assert_eq!(said(Proto::Resp2), format!("*14 {rest}"));
        assert_eq!(said(Proto::Resp3), format!("%7 {rest}").replace(":2", ":3"));
    }

    #[test]
    fn passwords_are_the_same_or_not_whatever_their_length() {
        for (given, same) in [("ab", true), ("ac", false), ("abab", false), ("a", false), ("", false)] {
            assert_eq!(is_password(b"ab", given.as_bytes()), same, "{given}");
        }
        assert!(is_password(b"", b"anything"));
    }
}
