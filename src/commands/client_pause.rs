//! CLIENT PAUSE and UNPAUSE. What a pause holds back is in `dispatch::pauses`.

use super::server::timeout_ms;
use crate::dispatch::Call;
use crate::keyspace::{Error, Outcome, fail};
use crate::resp::Reply;
use crate::session::Effect;

pub(super) fn client_pause(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    if call.args.len() > 4 {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(Error::quoting(before, call.args.at(1), "'. Try CLIENT HELP.").into());
    }
    let writes_only = match call.args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"all") => false,
        Some(b"write") => true,
        Some(_) => return fail("ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    let now_ms = call.txn.now_ms();
    let timeout_ms = timeout_ms(call.args.at(2), now_ms)?;
    call.effects.push(Effect::Pause { writes_only, until_ms: now_ms + timeout_ms });
    reply.ok();
    Ok(())
}

pub(super) fn client_unpause(call: &mut Call<'_>, reply: &mut Reply<'_>) -> Outcome {
    call.effects.push(Effect::Unpause);
    reply.ok();
    Ok(())
}
