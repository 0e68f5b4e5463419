//! Nobody keeps a worker to himself: a long burst of one connection lets others go first.

use super::{House, burst, send_burst};
use crate::value::Value;

#[test]
fn others_are_served_in_the_middle_of_a_burst() {
    let house = House::start(&["--workers", "1"]);
    let (mut long, mut other) = (house.client(), house.client());
    let elements = vec!["e"; 4000].join(" ");
    long.run(&format!("RPUSH list {elements}"));
    // Each search looks at every element; all of the burst is one read of the socket.
    let mut lines = vec!["LPOS list missing"; 300];
    lines.insert(0, "SET begun 1");
    lines.push("SET ended 1");
    send_burst(&mut long, &lines);
    let mut between = 0;
    loop {
        let replies = burst(&mut other, &["GET begun", "GET ended"]);
        if replies[1] != Value::NullBulk {
            break;
        }
        between += usize::from(replies[0] != Value::NullBulk);
    }
    assert!(between > 0, "nobody was served between the burst's first command and its last");
    for _ in &lines {
        long.read();
    }
}
