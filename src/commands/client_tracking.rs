//! CLIENT TRACKING and its kin: client-side caching, as `tracking` does it.
//!
//! How a client tracks is an effect, so it begins when the reply is certain. Prefixes add up from one CLIENT TRACKING to the next,
//! everything else is as the last one says.

use crate::base::number::parse_i64;
use crate::dispatch::Call;
use crate::keyspace::{Error, Mode, Outcome, fail};
use crate::resp::Reply;
use crate::session::Effect;
use crate::tracking::{Options, Remembers};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The options of CLIENT TRACKING as they stand in the request.
#[derive(Default)]
struct Asked {
    redirect: i64,
    broadcasts: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<Box<[u8]>>,
}

fn asked(call: &Call<'_>) -> Outcome<Asked> {
    let mut asked = Asked::default();
    let mut words = call.args.skip(3).iter();
    while let Some(word) = words.next() {
        let is = |option: &str| word.eq_ignore_ascii_case(option.as_bytes());
        if is("bcast") {
            asked.broadcasts = true;
        } else if is("optin") {
            asked.opt_in = true;
        } else if is("optout") {
            asked.opt_out = true;
        } else if is("noloop") {
            asked.no_loop = true;
        } else if is("prefix")
            && let Some(prefix) = words.next()
        {
            asked.prefixes.push(prefix.into());
        } else if is("redirect")
            && let Some(id) = words.next()
        {
            if asked.redirect != 0 {
                return fail("ERR A client can only redirect to a single other client");
            }
            asked.redirect = parse_i64(id).ok_or(Error::NotInteger)?;
            let target = u64::try_from(asked.redirect).ok().and_then(|id| call.node.clients.get(id));
            if target.is_none() {
                return fail("ERR The client ID you want redirect to does not exist");
            }
        } else {
            return Err(Error::Syntax.into());
        }
    }
    Ok(asked)
}

pub(super) fn tracking(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let asked = asked(call)?;
    let status = call.args.at(2);
    if status.eq_ignore_ascii_case(b"on") {
        // Each prefix is compared with each.
        let (had, more) = (call.tracking.as_ref().map_or(0, |old| old.prefixes.len()), asked.prefixes.len());
        call.txn.expect_work((more * (had + more)) as u64)?;
        let options = Arc::new(enabled(call.tracking.as_deref(), asked)?);
        if call.in_exec && call.txn.mode() != Mode::Dry {
            // What the transaction reads behind this is remembered, so changes of it must be told from now on.
            call.node.track(&call.session.client, Some(&options));
        }
        call.tracking = Some(options);
    } else if status.eq_ignore_ascii_case(b"off") {
        call.tracking = None;
    } else {
        return Err(Error::Syntax.into());
    }
    call.effects.push(Effect::Track(call.tracking.clone()));
    reply.ok();
    Ok(())
}

/// How a client tracks that has tracked like `old`.
fn enabled(old: Option<&Options>, asked: Asked) -> Outcome<Options> {
    if !asked.broadcasts && !asked.prefixes.is_empty() {
        return fail("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.broadcasts != asked.broadcasts) {
        return fail(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        );
    }
    if asked.broadcasts && (asked.opt_in || asked.opt_out) {
        return fail("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if asked.opt_in && asked.opt_out {
        return fail("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    let remembers = match (asked.opt_in, asked.opt_out) {
        (true, _) => Remembers::Chosen,
        (_, true) => Remembers::Others,
        _ => Remembers::All,
    };
    let had = old.map_or(Remembers::All, |old| old.remembers);
    if remembers != Remembers::All && had != Remembers::All && remembers != had {
        return fail(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        );
    }
    let mut prefixes = old.map(|old| old.prefixes.clone()).unwrap_or_default();
    if asked.broadcasts {
        check_prefixes(&prefixes, &asked.prefixes)?;
        let all = Box::default();
        if asked.prefixes.is_empty() && !prefixes.contains(&all) {
            prefixes.push(all);
        }
        prefixes.extend(asked.prefixes);
        prefixes.sort();
    }
    let redirect = u64::try_from(asked.redirect).unwrap_or(0);
    Ok(Options { redirect, broadcasts: asked.broadcasts, prefixes, remembers, no_loop: asked.no_loop })
}

/// No prefix of a client may begin with another one of its prefixes.
fn check_prefixes(old: &[Box<[u8]>], new: &[Box<[u8]>]) -> Outcome {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refusal = |one: &[u8], what: &str, other: &[u8]| {
        let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        let text = format!(
            "ERR Prefix '{one}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not overlap."
        );
        Err(Error::Text(text.into()).into())
    };
    for (number, prefix) in new.iter().enumerate() {
        if let Some(other) = old.iter().find(|other| overlap(prefix, other)) {
            return refusal(prefix, "an existing", other);
        }
        if let Some(other) = new[number + 1..].iter().find(|other| overlap(prefix, other)) {
            return refusal(prefix, "another provided", other);
        }
    }
    Ok(())
}

pub(super) fn caching(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(tracking) = &call.tracking else {
        return fail(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        );
    };
    match call.args.at(2).to_ascii_lowercase().as_slice() {
        b"yes" if tracking.remembers == Remembers::Chosen => {}
        b"yes" => {
            return fail("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
        }
        b"no" if tracking.remembers == Remembers::Others => {}
        b"no" => {
            return fail("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
        }
        _ => return Err(Error::Syntax.into()),
    }
    call.effects.push(Effect::ChooseCaching);
    reply.ok();
    Ok(())
}

pub(super) fn getredir(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(redirection(call));
    Ok(())
}

fn redirection(call: &Call<'_>) -> i64 {
    call.tracking.as_ref().map_or(-1, |tracking| tracking.redirect as i64)
}

pub(super) fn trackinginfo(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    let session = call.session;
    let tracking = call.tracking.as_deref();
    let remembers = tracking.map_or(Remembers::All, |tracking| tracking.remembers);
    let flags = [
        ("off", tracking.is_none()),
        ("on", tracking.is_some()),
        ("bcast", tracking.is_some_and(|tracking| tracking.broadcasts)),
        ("optin", remembers == Remembers::Chosen),
        ("caching-yes", remembers == Remembers::Chosen && session.has_chosen),
        ("optout", remembers == Remembers::Others),
        ("caching-no", remembers == Remembers::Others && session.has_chosen),
        ("noloop", tracking.is_some_and(|tracking| tracking.no_loop)),
        ("broken_redirect", session.client.redirect_broken.load(Ordering::Acquire)),
    ];
    reply.map(3);
    reply.bulk_str("flags");
    reply.set(flags.iter().filter(|(_, is_set)| *is_set).count());
    flags.iter().filter(|(_, is_set)| *is_set).for_each(|(name, _)| reply.bulk_str(name));
    reply.bulk_str("redirect");
    reply.integer(redirection(call));
    reply.bulk_str("prefixes");
    let prefixes = tracking.map(|tracking| tracking.prefixes.as_slice()).unwrap_or_default();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
