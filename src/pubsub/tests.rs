//! Subscriptions and messages without sockets.

use super::*;
use crate::resp::Proto;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Bed {
    pubsub: PubSub,
    clock: Clock,
    cut: Arc<AtomicUsize>,
}

impl Bed {
    fn new(limit: &str) -> Bed {
        let config = Config::default();
        config.apply(&[("client-output-buffer-limit".to_owned(), format!("pubsub {limit}"))]);
        let clock = Clock::manual(1_000_000);
        Bed { pubsub: PubSub::new(Arc::new(config), clock.clone()), clock, cut: Arc::default() }
    }

    fn outbox(&self, id: u64) -> Arc<Outbox> {
        let cut = Arc::clone(&self.cut);
        Outbox::new(id, Proto::Resp2, move || {
            cut.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn publish(&self, channel: &str, payload: &str) -> Option<Receipt> {
        self.pubsub.publish(Kind::Channel, channel.as_bytes(), payload.as_bytes(), Rests::default())
    }
}

fn texts(outbox: &Outbox) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(item) = outbox.take_if(|_| true) {
        let (first, rest) = item.message.parts(item.proto);
        all.push(format!("{}{}", first as char, String::from_utf8_lossy(rest)).replace("\r\n", " "));
    }
    all
}

#[test]
fn a_message_reaches_the_channel_and_each_matching_pattern() {
    let bed = Bed::new("0 0 0");
    let (one, two) = (bed.outbox(1), bed.outbox(2));
    bed.pubsub.subscribe(&one, Kind::Channel, b"news.it");
    bed.pubsub.subscribe(&one, Kind::Pattern, b"news.*");
    bed.pubsub.subscribe(&two, Kind::Pattern, b"n[a-f]ws*");
    bed.pubsub.subscribe(&two, Kind::Pattern, b"*x");
    bed.pubsub.subscribe(&two, Kind::Shard, b"news.it");
    assert_eq!(bed.pubsub.receivers(Kind::Channel, b"news.it"), 3);
    assert_eq!(bed.publish("news.it", "hi"), None);
    assert_eq!(
        texts(&one),
        ["*3 $7 message $7 news.it $2 hi ", "*4 $8 pmessage $6 news.* $7 news.it $2 hi "]
    );
    assert_eq!(texts(&two), ["*4 $8 pmessage $9 n[a-f]ws* $7 news.it $2 hi "]);
    let counts = [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| bed.pubsub.count(kind));
    assert_eq!(counts, [1, 3, 1]);
    bed.pubsub.unsubscribe_all(&one);
    bed.pubsub.unsubscribe_all(&two);
    let counts = [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| bed.pubsub.count(kind));
    assert_eq!((counts, bed.pubsub.receivers(Kind::Channel, b"news.it")), ([0, 0, 0], 0));
}

#[test]
fn nothing_of_an_ended_subscription_arrives_after_its_end() {
    let bed = Bed::new("0 0 0");
    let outboxes: Vec<_> = (1..=1000).map(|id| bed.outbox(id)).collect();
    outboxes.iter().for_each(|outbox| bed.pubsub.subscribe(outbox, Kind::Channel, b"c"));
    // Too many to be served at once.
    assert!(bed.publish("c", "late").is_some());
    bed.pubsub.unsubscribe(&outboxes[999], Kind::Channel, b"c");
    while bed.pubsub.post.carry_slice(&bed.pubsub.standing()) {}
    assert_eq!((outboxes[998].len(), outboxes[999].len()), (1, 0));
}

#[test]
fn what_is_sent_behind_a_message_for_many_arrives_behind_it() {
    let bed = Bed::new("0 0 0");
    let outboxes: Vec<_> = (1..=600).map(|id| bed.outbox(id)).collect();
    outboxes.iter().for_each(|outbox| bed.pubsub.subscribe(outbox, Kind::Channel, b"all"));
    bed.pubsub.subscribe(&outboxes[599], Kind::Channel, b"one");
    let first = bed.publish("all", "1");
    let second = bed.publish("one", "2");
    assert!(first < second && first.is_some());
    let mut slices = 1;
    while bed.pubsub.post.carry_slice(&bed.pubsub.standing()) {
        slices += 1;
    }
    assert_eq!(slices, 3);
    assert_eq!(texts(&outboxes[599]), ["*3 $7 message $3 all $1 1 ", "*3 $7 message $3 one $1 2 "]);
    assert_eq!(bed.publish("one", "3"), None);
}

#[test]
fn who_falls_behind_the_hard_limit_is_cut_and_forgotten() {
    let bed = Bed::new("2000 0 0");
    let (slow, other) = (bed.outbox(1), bed.outbox(2));
    bed.pubsub.subscribe(&slow, Kind::Channel, b"c");
    bed.pubsub.subscribe(&other, Kind::Channel, b"c");
    for _ in 0..100 {
        bed.publish("c", &"x".repeat(200));
        texts(&other);
        other.sent();
    }
    assert_eq!((bed.cut.load(Ordering::Relaxed), slow.bytes(), slow.len()), (1, 0, 0));
}

#[test]
fn what_is_taken_and_not_sent_counts_too() {
    let bed = Bed::new("2000 0 0");
    let slow = bed.outbox(1);
    bed.pubsub.subscribe(&slow, Kind::Channel, b"c");
    for _ in 0..20 {
        bed.publish("c", &"x".repeat(200));
        texts(&slow);
    }
    assert_eq!(bed.cut.load(Ordering::Relaxed), 1);
}

#[test]
fn the_soft_limit_cuts_only_who_is_over_it_for_its_time() {
    let bed = Bed::new("0 1000 10");
    let slow = bed.outbox(1);
    bed.pubsub.subscribe(&slow, Kind::Channel, b"c");
    let mut steps = Vec::new();
    for seconds in [0, 9, 0, 9, 2] {
        bed.clock.advance_ms(seconds * 1000);
        bed.publish("c", &"x".repeat(2000));
        steps.push(bed.cut.load(Ordering::Relaxed));
        if steps.len() == 2 {
            // It catches up: its time begins anew.
            texts(&slow);
            slow.sent();
            bed.publish("c", "");
        }
    }
    assert_eq!(steps, [0, 0, 0, 0, 1]);
}

#[test]
fn the_soft_limit_holds_though_nothing_more_comes() {
    let bed = Bed::new("0 1000 10");
    let slow = bed.outbox(1);
    bed.pubsub.subscribe(&slow, Kind::Channel, b"c");
    bed.publish("c", &"x".repeat(2000));
    let cut_after = |seconds: u64| {
        bed.clock.advance_ms(seconds * 1000);
        slow.keep_limit(&bed.pubsub.standing());
        (bed.cut.load(Ordering::Relaxed), slow.len())
    };
    assert_eq!([cut_after(9), cut_after(2), cut_after(9)], [(0, 1), (1, 0), (1, 0)]);
}

#[test]
fn the_protocol_is_that_of_the_time_the_message_came() {
    let bed = Bed::new("0 0 0");
    let outbox = bed.outbox(1);
    bed.pubsub.subscribe(&outbox, Kind::Shard, b"c");
    for proto in [Proto::Resp2, Proto::Resp3] {
        outbox.set_proto(proto);
        bed.pubsub.publish(Kind::Shard, b"c", b"x", Rests::default());
    }
    assert_eq!(texts(&outbox), ["*3 $8 smessage $1 c $1 x ", ">3 $8 smessage $1 c $1 x "]);
}
