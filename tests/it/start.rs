//! The program as a whole: what it says at its start, what its configuration makes of it, what it leaves behind.
//!
//! These tests are about Tuff alone and say nothing when the oracle plays its part.

use crate::server::{Server, subject_is_oracle};

#[test]
fn the_start_names_the_loopback_addresses_it_listens_on() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&[]);
    let log = server.log();
    let expected = format!("ready to accept connections on 127.0.0.1:{}", server.port());
    assert_eq!(log.matches("ready to accept connections").count(), 1, "{log}");
    assert!(log.contains(&expected), "{log}");
    assert!(!log.contains("0.0.0.0") && !log.contains("[::]"), "{log}");
}
