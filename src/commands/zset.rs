//! Sorted sets: what their commands are. How sorted sets are kept is in `types::zset`.
//!
//! The handlers: `change` (ZADD and its kin, ZREM), `look` (single members, ZSCAN, ZRANDMEMBER), `range` (stretches: ZRANGE and all
//! its forms, ZCOUNT, ZREMRANGEBY..), `pop` (also the blocking ones), `combine` (ZUNION, ZINTER, ZDIFF).

mod change;
mod combine;
mod look;
mod pop;
mod range;

use crate::dispatch::Command;
use crate::dispatch::keyspec::KeySpec;
use crate::dispatch::spec::Flag::{Blocking, DenyOom, Fast, ReadOnly, Write};
use crate::dispatch::spec::{Group, family};
use crate::resp::{Proto, Reply};
use change::{zadd, zincrby, zrem};
use combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use look::{zcard, zmscore, zrandmember, zrank, zrevrank, zscan, zscore};
use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

/// The commands of this family.
pub const COMMANDS: &[Command] = &family([
    Command::new("bzmpop", bzmpop)
        .arity(-5)
        .flags(&[Write, Blocking])
        .keys(&[KeySpec::rw(2).counted().access().delete()])
        .group(Group::SortedSet)
        .since("7.0.0")
        .complexity("O(K) + O(M*log(N))")
        .summary(
            "Takes the lowest or highest members of the first sorted set that has any, waiting for them.",
        )
        .syntax("timeout:double numkeys:int key@0... where<MIN | MAX> [COUNT count:int]"),
    Command::new("bzpopmax", bzpopmax)
        .arity(-3)
        .flags(&[Write, Blocking, Fast])
        .keys(&[KeySpec::rw(1).to(-2).access().delete()])
        .group(Group::SortedSet)
        .since("5.0.0")
        .complexity("O(log(N))")
        .summary("Takes the highest member of the first sorted set that has one, waiting for it.")
        .syntax("key@0... timeout:double"),
    Command::new("bzpopmin", bzpopmin)
        .arity(-3)
        .flags(&[Write, Blocking, Fast])
        .keys(&[KeySpec::rw(1).to(-2).access().delete()])
        .group(Group::SortedSet)
        .since("5.0.0")
        .complexity("O(log(N))")
        .summary("Takes the lowest member of the first sorted set that has one, waiting for it.")
        .syntax("key@0... timeout:double"),
    Command::new("zadd", zadd)
        .arity(-4)
        .element(-1)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).update()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(log(N)) a member")
        .summary("Adds members with scores to a sorted set, or changes their scores.")
        .syntax(
            "key@0 [condition<NX | XX>^3.0.2] [comparison<GT | LT>^6.2.0] [change=CH^3.0.2] \
             [increment=INCR^3.0.2] data(score:double member)...",
        ),
    Command::new("zcard", zcard)
        .arity(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1)])
        .group(Group::SortedSet)
        .since("1.2.0")
        .summary("Counts the members of a sorted set.")
        .syntax("key@0"),
    Command::new("zcount", zcount)
        .arity(4)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(log(N))")
        .summary("Counts the members between two scores.")
        .syntax("key@0 min:double max:double"),
    Command::new("zdiff", zdiff)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).counted().access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(L + (N-K)log(N))")
        .summary("Lists the members that only the first sorted set has.")
        .syntax("numkeys:int key@0... [WITHSCORES]"),
    Command::new("zdiffstore", zdiffstore)
        .arity(-4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).counted().access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(L + (N-K)log(N))")
        .summary("Stores the members that only the first sorted set has.")
        .syntax("destination@0 numkeys:int key@1..."),
    Command::new("zincrby", zincrby)
        .arity(4)
        .element(-1)
        .flags(&[Write, DenyOom, Fast])
        .keys(&[KeySpec::rw(1).access().update()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(log(N))")
        .summary("Adds to a member's score.")
        .syntax("key@0 increment:int member"),
    Command::new("zinter", zinter)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).counted().access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(N*K)+O(M*log(M))")
        .summary("Lists the members that all sorted sets have.")
        .syntax(
            "numkeys:int key@0... [WEIGHTS weight:int...] [AGGREGATE aggregate<SUM | MIN | MAX>] \
             [WITHSCORES]",
        ),
    Command::new("zintercard", zintercard)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).counted().access()])
        .group(Group::SortedSet)
        .since("7.0.0")
        .complexity("O(N*K)")
        .summary("Counts the members that all sorted sets have.")
        .syntax("numkeys:int key@0... [LIMIT limit:int]"),
    Command::new("zinterstore", zinterstore)
        .arity(-4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).counted().access()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(N*K)+O(M*log(M))")
        .summary("Stores the members that all sorted sets have.")
        .syntax(
            "destination@0 numkeys:int key@1... [WEIGHTS weight:int...] [AGGREGATE aggregate<SUM | MIN | \
             MAX>]",
        ),
    Command::new("zlexcount", zlexcount)
        .arity(4)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.8.9")
        .complexity("O(log(N))")
        .summary("Counts the members between two names.")
        .syntax("key@0 min max"),
    Command::new("zmpop", zmpop)
        .arity(-4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).counted().access().delete()])
        .group(Group::SortedSet)
        .since("7.0.0")
        .complexity("O(K) + O(M*log(N))")
        .summary("Takes the lowest or highest members of the first sorted set that has any.")
        .syntax("numkeys:int key@0... where<MIN | MAX> [COUNT count:int]"),
    Command::new("zmscore", zmscore)
        .arity(-3)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Tells the scores of several members.")
        .syntax("key@0 member..."),
    Command::new("zpopmax", zpopmax)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::SortedSet)
        .since("5.0.0")
        .complexity("O(log(N)*M)")
        .summary("Takes the members with the highest scores.")
        .syntax("key@0 [count:int]"),
    Command::new("zpopmin", zpopmin)
        .arity(-2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).access().delete()])
        .group(Group::SortedSet)
        .since("5.0.0")
        .complexity("O(log(N)*M)")
        .summary("Takes the members with the lowest scores.")
        .syntax("key@0 [count:int]"),
    Command::new("zrandmember", zrandmember)
        .arity(-2)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .tips(&["nondeterministic_output"])
        .since("6.2.0")
        .complexity("O(N)")
        .summary("Picks members by chance.")
        .syntax("key@0 [options(count:int [WITHSCORES])]"),
    Command::new("zrange", zrange)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(log(N)+M)")
        .summary("Reads members between two positions, scores or names.")
        .syntax(
            "key@0 start stop [sortby<BYSCORE | BYLEX>^6.2.0] [REV^6.2.0] [LIMIT limit(offset:int \
             count:int)^6.2.0] [WITHSCORES]",
        ),
    Command::new("zrangebylex", zrangebylex)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.8.9")
        .complexity("O(log(N)+M)")
        .summary("Reads the members between two names.")
        .syntax("key@0 min max [LIMIT limit(offset:int count:int)]")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    Command::new("zrangebyscore", zrangebyscore)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("1.0.5")
        .complexity("O(log(N)+M)")
        .summary("Reads the members between two scores.")
        .syntax("key@0 min:double max:double [WITHSCORES^2.0.0] [LIMIT limit(offset:int count:int)]")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    Command::new("zrangestore", zrangestore)
        .arity(-5)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(log(N)+M)")
        .summary("Stores the members between two positions, scores or names.")
        .syntax("dst@0 src@1 min max [sortby<BYSCORE | BYLEX>] [REV] [LIMIT limit(offset:int count:int)]"),
    Command::new("zrank", zrank)
        .arity(-3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(log(N))")
        .summary("Tells a member's position, the lowest score first.")
        .syntax("key@0 member [WITHSCORE]"),
    Command::new("zrem", zrem)
        .arity(-3)
        .element(2)
        .flags(&[Write, Fast])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(M*log(N))")
        .summary("Removes members of a sorted set.")
        .syntax("key@0 member..."),
    Command::new("zremrangebylex", zremrangebylex)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::SortedSet)
        .since("2.8.9")
        .complexity("O(log(N)+M)")
        .summary("Removes the members between two names.")
        .syntax("key@0 min max"),
    Command::new("zremrangebyrank", zremrangebyrank)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(log(N)+M)")
        .summary("Removes the members between two positions.")
        .syntax("key@0 start:int stop:int"),
    Command::new("zremrangebyscore", zremrangebyscore)
        .arity(4)
        .flags(&[Write])
        .keys(&[KeySpec::rw(1).delete()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(log(N)+M)")
        .summary("Removes the members between two scores.")
        .syntax("key@0 min:double max:double"),
    Command::new("zrevrange", zrevrange)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .complexity("O(log(N)+M)")
        .summary("Reads the members between two positions, the highest score first.")
        .syntax("key@0 start:int stop:int [WITHSCORES]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    Command::new("zrevrangebylex", zrevrangebylex)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.8.9")
        .complexity("O(log(N)+M)")
        .summary("Reads the members between two names, the last first.")
        .syntax("key@0 max min [LIMIT limit(offset:int count:int)]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    Command::new("zrevrangebyscore", zrevrangebyscore)
        .arity(-4)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.2.0")
        .complexity("O(log(N)+M)")
        .summary("Reads the members between two scores, the highest first.")
        .syntax("key@0 max:double min:double [WITHSCORES] [LIMIT limit(offset:int count:int)]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    Command::new("zrevrank", zrevrank)
        .arity(-3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(log(N))")
        .summary("Tells a member's position, the highest score first.")
        .syntax("key@0 member [WITHSCORE]"),
    Command::new("zscan", zscan)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .tips(&["nondeterministic_output"])
        .since("2.8.0")
        .complexity("O(1) a call, O(N) to the end")
        .summary("Goes through the members of a sorted set step by step.")
        .syntax("key@0 cursor:int [MATCH pattern:pattern] [COUNT count:int]"),
    Command::new("zscore", zscore)
        .arity(3)
        .element(2)
        .flags(&[ReadOnly, Fast])
        .keys(&[KeySpec::ro(1).access()])
        .group(Group::SortedSet)
        .since("1.2.0")
        .summary("Tells a member's score.")
        .syntax("key@0 member"),
    Command::new("zunion", zunion)
        .arity(-3)
        .flags(&[ReadOnly])
        .keys(&[KeySpec::ro(1).counted().access()])
        .group(Group::SortedSet)
        .since("6.2.0")
        .complexity("O(N)+O(M*log(M))")
        .summary("Lists the members that any of the sorted sets has.")
        .syntax(
            "numkeys:int key@0... [WEIGHTS weight:int...] [AGGREGATE aggregate<SUM | MIN | MAX>] \
             [WITHSCORES]",
        ),
    Command::new("zunionstore", zunionstore)
        .arity(-4)
        .flags(&[Write, DenyOom])
        .keys(&[KeySpec::ow(1).update(), KeySpec::ro(2).counted().access()])
        .group(Group::SortedSet)
        .since("2.0.0")
        .complexity("O(N)+O(M log(M))")
        .summary("Stores the members that any of the sorted sets has.")
        .syntax(
            "destination@0 numkeys:int key@1... [WEIGHTS weight:int...] [AGGREGATE aggregate<SUM | MIN | \
             MAX>]",
        ),
]);

/// A list of members whose length is known at its end, with their scores or without. RESP3 pairs members and scores.
struct MemberList<'r, 'o> {
    reply: &'r mut Reply<'o>,
    with_scores: bool,
    count: usize,
}

impl<'r, 'o> MemberList<'r, 'o> {
    fn new(reply: &'r mut Reply<'o>, with_scores: bool) -> MemberList<'r, 'o> {
        MemberList { reply, with_scores, count: 0 }
    }

    fn is_nested(&self) -> bool {
        self.with_scores && self.reply.proto() == Proto::Resp3
    }

    fn push(&mut self, member: &[u8], score: f64) {
        let nested = self.is_nested();
        if nested {
            self.reply.array(2);
        }
        self.reply.bulk(member);
        if self.with_scores {
            self.reply.double(score);
        }
        self.count += if self.with_scores && !nested { 2 } else { 1 };
    }
}
