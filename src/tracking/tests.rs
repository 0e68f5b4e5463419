//! The table on its own: who is told what.

use super::*;
use crate::base::clock::Clock;

struct Stage {
    tracking: Tracking,
    wanted: Arc<AtomicBool>,
}

impl Stage {
    fn new(keys_max: &str) -> Stage {
        let config = Arc::new(Config::default());
        config.apply(&[("tracking-table-max-keys".to_owned(), keys_max.to_owned())]);
        let pubsub = Arc::new(PubSub::new(Arc::clone(&config), Clock::system()));
        let wanted = Arc::new(AtomicBool::new(false));
        Stage { tracking: Tracking::new(Arc::clone(&wanted), pubsub, config), wanted }
    }

    fn begin(&self, id: u64, options: &Options) -> Arc<Outbox> {
        let outbox = Outbox::new(id, Proto::Resp3, || {});
        self.tracking.begin(options, &outbox, None, &Arc::default());
        outbox
    }

    fn change(&self, keys: &[&str], author: u64) {
        let mut keys = keys.iter().map(|key| key.as_bytes());
        self.tracking.invalidate(&mut keys, author, Rests::default());
    }
}

fn told(outbox: &Outbox) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(item) = outbox.take_if(|_| true) {
        let text = String::from_utf8_lossy(item.message.parts(Proto::Resp3).1).replace("\r\n", " ");
        told.push(text.trim_end().to_owned());
    }
    told
}

#[test]
fn a_reader_is_told_once_of_a_key_it_has_read() {
    let stage = Stage::new("100");
    let (one, two) = (stage.begin(1, &Options::default()), stage.begin(2, &Options::default()));
    for (id, key) in [(1, "a"), (1, "a"), (1, "b"), (2, "a")] {
        stage.tracking.remember(id, key.as_bytes());
    }
    let figures = stage.tracking.figures();
    assert_eq!((figures.clients, figures.keys, figures.readers), (2, 2, 3));
    stage.change(&["a", "c"], 9);
    stage.change(&["a"], 9);
    assert_eq!(told(&one), ["2 $10 invalidate *1 $1 a"]);
    assert_eq!(told(&two), ["2 $10 invalidate *1 $1 a"]);
    assert_eq!((stage.tracking.figures().keys, stage.tracking.figures().readers), (1, 1));
}

#[test]
fn with_no_loop_a_client_is_not_told_of_its_own_changes() {
    let stage = Stage::new("100");
    let quiet = stage.begin(1, &Options { no_loop: true, ..Options::default() });
    let loud = stage.begin(2, &Options::default());
    for author in [1, 2, 3] {
        stage.tracking.remember(1, b"a");
        stage.tracking.remember(2, b"a");
        stage.change(&["a"], author);
    }
    assert_eq!((told(&quiet).len(), told(&loud).len()), (2, 3));
}

#[test]
fn a_broadcast_names_all_keys_of_a_prefix_in_one_message() {
    let stage = Stage::new("100");
    let prefixes = vec![(*b"a").into(), (*b"u:").into()];
    let some = stage.begin(1, &Options { broadcasts: true, prefixes, ..Options::default() });
    let all = stage.begin(2, &Options { broadcasts: true, ..Options::default() });
    stage.change(&["u:1", "b", "u:2", "a"], 9);
    assert_eq!(told(&some), ["2 $10 invalidate *1 $1 a", "2 $10 invalidate *2 $3 u:1 $3 u:2"]);
    assert_eq!(told(&all), ["2 $10 invalidate *4 $1 a $1 b $3 u:1 $3 u:2"]);
    assert_eq!(stage.tracking.figures().prefixes, 3);
    stage.tracking.end(1);
    assert_eq!(stage.tracking.figures().prefixes, 1);
}

#[test]
fn a_full_table_forgets_a_key_and_says_so() {
    let stage = Stage::new("10");
    let outbox = stage.begin(1, &Options::default());
    for number in 0..25 {
        stage.tracking.remember(1, format!("k{number}").as_bytes());
    }
    assert_eq!(stage.tracking.figures().keys, 10);
    assert_eq!(told(&outbox).len(), 15);
}

#[test]
fn commits_need_not_look_once_nobody_tracks() {
    let stage = Stage::new("10");
    stage.begin(1, &Options::default());
    stage.begin(2, &Options::default());
    stage.tracking.remember(1, b"a");
    assert!(stage.wanted.load(Ordering::SeqCst));
    stage.tracking.end(1);
    assert!(stage.wanted.load(Ordering::SeqCst));
    stage.tracking.end(2);
    assert!(!stage.wanted.load(Ordering::SeqCst));
    assert_eq!((stage.tracking.figures().keys, stage.tracking.figures().readers), (0, 0));
}

#[test]
fn a_target_that_has_gone_is_told_of_each_time() {
    let stage = Stage::new("10");
    let (own, target) = (Outbox::new(1, Proto::Resp3, || {}), Outbox::new(2, Proto::Resp3, || {}));
    let broken = Arc::new(AtomicBool::new(false));
    let options = Options { redirect: 2, ..Options::default() };
    stage.tracking.begin(&options, &own, Some(Arc::clone(&target)), &broken);
    stage.tracking.invalidate_all(Rests::default());
    assert_eq!((told(&own).len(), told(&target)), (0, vec!["2 $10 invalidate _".to_owned()]));
    target.close();
    stage.tracking.invalidate_all(Rests::default());
    stage.tracking.invalidate_all(Rests::default());
    assert_eq!(told(&own), ["2 $21 tracking-redir-broken :2"; 2]);
    assert!(broken.load(Ordering::Acquire));
}
