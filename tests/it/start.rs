//! The program as a whole: what it says at its start, what its configuration makes of it, what it leaves behind.
//!
//! Some of these tests are about Tuff alone and say nothing when the oracle plays its part.

use crate::client::Client;
use crate::server::{Server, subject_is_oracle};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A folder with a configuration file in it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn with(text: &str) -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        std::fs::write(desk.path("tuff.conf"), text).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this file, under a limit of file descriptors.
    fn command(&self, descriptors: u32) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_tuff")).arg("server").arg(self.path("tuff.conf"));
        command.arg("--dir").arg(self.path("data"));
        command
    }

    /// Runs the program with this file to its end: for files that it refuses.
    fn refused(&self, descriptors: u32) -> String {
        let Output { status, stderr, .. } = self.command(descriptors).output().unwrap();
        assert!(!status.success());
        String::from_utf8(stderr).unwrap()
    }
}

/// Waits until something holds; says what if it never does.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

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

#[test]
fn renamed_commands_are_known_by_their_new_names_only() {
    let desk =
        Desk::with("rename-command GET Fetch\nrename-command FLUSHALL \"\"\nrename-command CONFIG cfg\n");
    let file = desk.path("tuff.conf");
    let mut both = [Server::tuff_with_file(&file, &[]), Server::redis_with_file(&file, &[])];
    let lines = [
        "SET k v",
        "GET k",
        "fetch k",
        "FETCH",
        "FLUSHALL",
        "CONFIG GET port",
        "cfg GET maxmemory-policy",
        "cfg nope",
        "COMMAND INFO get flushall config",
        "COMMAND INFO fetch",
        "COMMAND GETKEYS fetch k",
        "COMMAND LIST FILTERBY PATTERN flushall",
        "COMMAND LIST FILTERBY PATTERN fetch",
        "COMMAND LIST FILTERBY PATTERN get",
        "MULTI",
        "fetch k",
        "EXEC",
    ];
    let [ours, theirs] = both.each_mut().map(|server| {
        let mut client = server.client();
        lines.map(|line| client.run(line).render())
    });
    for ((line, ours), theirs) in lines.iter().zip(ours).zip(theirs) {
        assert_eq!(ours, theirs, "{line}");
    }
}

#[test]
fn a_renaming_of_no_command_is_refused_with_its_line() {
    if subject_is_oracle() {
        return;
    }
    let desk = Desk::with("# mine\nrename-command NOPE x\n");
    let said = desk.refused(1000);
    let expected = format!(
        "Reading the configuration file '{}', at line 2\n>>> 'rename-command NOPE x'\nNo such command in rename-command",
        desk.path("tuff.conf").display()
    );
    assert!(said.contains(&expected), "{said}");
    let taken = Desk::with("rename-command GET SET\n").refused(1000);
    assert!(taken.contains("\nTarget command name already exists"), "{taken}");
}

#[test]
fn the_pid_file_is_there_while_the_server_runs() {
    let mut server = Server::tuff(&["--pidfile", "tuff.pid"]);
    let path = server.data().join("tuff.pid");
    // It is made first and written then.
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    wait_until("the pid file is there", || text().ends_with('\n'));
    assert_eq!(text(), format!("{}\n", server.id()));
    server.terminate();
    assert!(server.wait_for_exit().success());
    assert!(!path.exists());
}

#[test]
fn what_a_kill_has_left_of_a_checkpoint_is_gone_after_the_next_start() {
    if subject_is_oracle() {
        return;
    }
    let desk = Desk::with("port 0\nbind 127.0.0.1\nlogfile log\n");
    let checkpoint = |name: &str| desk.path("data/checkpoints").join(name);
    let names = ["00001795360662398339.tmp", "00001795360662398339", "mine.tmp"];
    for name in names {
        std::fs::create_dir_all(checkpoint(name)).unwrap();
        std::fs::write(checkpoint(name).join("000008.sst"), b"rows").unwrap();
    }
    let mut child = desk.command(1000).spawn().unwrap();
    let log = || std::fs::read_to_string(desk.path("data/log")).unwrap_or_default();
    wait_until("it is ready", || log().contains("ready to accept"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names.map(|name| checkpoint(name).exists()), [false, true, true], "{}", log());
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_ends() {
    if subject_is_oracle() {
        return;
    }
    for (supervised, heard) in [("systemd", true), ("auto", true), ("no", false)] {
        let desk = Desk::with(&format!("port 0\nbind 127.0.0.1\nlogfile log\nsupervised {supervised}\n"));
        let socket = UnixDatagram::bind(desk.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let hear = || {
            let mut text = [0; 256];
            let len = socket.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..len]).into_owned()
        };
        let mut child = desk.command(1000).env("NOTIFY_SOCKET", desk.path("notify")).spawn().unwrap();
        let log = || std::fs::read_to_string(desk.path("data/log")).unwrap_or_default();
        if heard {
            assert_eq!(hear(), "READY=1\n");
        }
        wait_until("it is ready", || log().contains("ready to accept"));
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(child.wait().unwrap().success(), "{}", log());
        if heard {
            assert_eq!(hear(), "STOPPING=1\n");
        }
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 256]).is_err(), "nothing else is said");
    }
}

#[test]
fn a_closed_terminal_ends_no_server() {
    let mut server = Server::tuff(&[]);
    let mut client = server.client();
    for _ in 0..3 {
        Command::new("kill").args(["-HUP", &server.id().to_string()]).status().unwrap();
        client.ok("SET k v");
    }
    server.terminate();
    assert!(server.wait_for_exit().success());
}

#[test]
fn config_set_changes_the_log_level_and_a_renamed_log_file_is_begun_anew() {
    if subject_is_oracle() {
        return;
    }
    let server = Server::tuff(&["--logfile", "tuff.log", "--loglevel", "warning"]);
    let (path, old) = (server.data().join("tuff.log"), server.data().join("tuff.log.1"));
    let log = || std::fs::read_to_string(&path).unwrap_or_default();
    let mut client = server.client();
    // A setting without an effect is warned of.
    client.ok("CONFIG SET activedefrag yes");
    assert!(log().contains("activedefrag yes") && !log().contains("ready"), "{}", log());
    client.ok("CONFIG SET loglevel notice");
    client.run("BGSAVE");
    wait_until("a notice is logged", || log().contains("checkpoint made"));
    std::fs::rename(&path, &old).unwrap();
    client.ok("CONFIG SET loglevel nothing");
    client.ok("CONFIG SET repl-timeout 61");
    assert_eq!(log(), "");
    client.ok("CONFIG SET loglevel warning");
    client.ok("CONFIG SET repl-timeout 62");
    assert!(log().contains("repl-timeout 62") && !log().contains("repl-timeout 61"), "{}", log());
    assert!(!std::fs::read_to_string(&old).unwrap().is_empty());
}

#[test]
fn maxclients_shrinks_with_the_limit_of_file_descriptors() {
    if subject_is_oracle() {
        return;
    }
    let desk = Desk::with("port 0\nbind 127.0.0.1\nlogfile log\n");
    let mut child = desk.command(700).spawn().unwrap();
    let log = || std::fs::read_to_string(desk.path("data/log")).unwrap_or_default();
    let port =
        || log().split_once("connections on 127.0.0.1:").and_then(|(_, rest)| rest.trim().parse().ok());
    wait_until("it is ready", || port().is_some());
    let mut client = Client::connect(port().unwrap()).unwrap();
    let shown = client.run("CONFIG GET maxclients").render();
    let refused = client.run("CONFIG SET maxclients 334").render();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(shown.contains("333"), "{shown}");
    assert!(
        refused.contains("not able to handle the specified number of clients, try with 333"),
        "{refused}"
    );
    let reduced =
        "Current maximum open files is 700. maxclients has been reduced to 333 to compensate for low ulimit";
    assert!(log().contains(reduced), "{}", log());
    let text = Desk::with("port 0\n").refused(100);
    assert!(text.contains("'ulimit -n' of 100 is not enough"), "{text}");
}

#[test]
fn config_rewrite_writes_the_running_values_options_included() {
    let text = "timeout 5\n# mine\nmaxclients 77\ntcp-keepalive 60\n";
    let desks = [Desk::with(text), Desk::with(text)];
    let options = ["--timeout", "0", "--maxclients", "77", "--tcp-keepalive", "300", "--lfu-decay-time", "2"];
    let [first, second] = &desks;
    let servers = [
        Server::tuff_with_file(&first.path("tuff.conf"), &options),
        Server::redis_with_file(&second.path("tuff.conf"), &options),
    ];
    for server in &servers {
        server.client().ok("CONFIG SET slowlog-max-len 7 maxmemory 3000mb");
        server.client().ok("CONFIG REWRITE");
    }
    let rewritten = desks.each_ref().map(|desk| {
        let text = std::fs::read_to_string(desk.path("tuff.conf")).unwrap();
        // What the tests give only one of the two, what differs by default, and users, whom Tuff does not know yet.
        let apart = ["port", "bind", "dir", "save", "loglevel", "user", "latency-tracking-info-percentiles"];
        let is_compared = |line: &&str| !line.is_empty() && !apart.contains(&line.split(' ').next().unwrap());
        let (mine, generated) = text.split_once("# Generated by CONFIG REWRITE").unwrap();
        let mine: Vec<String> = mine.lines().filter(is_compared).map(str::to_owned).collect();
        let mut generated: Vec<String> = generated.lines().filter(is_compared).map(str::to_owned).collect();
        generated.sort();
        (mine, generated, text)
    });
    let [ours, theirs] = &rewritten;
    assert_eq!((&ours.0, &ours.1), (&theirs.0, &theirs.1));
    assert_eq!(ours.0, ["timeout 0", "# mine", "maxclients 77", "tcp-keepalive 300"]);
    for (server, (_, _, text)) in servers.iter().zip(&rewritten) {
        assert!(text.contains(&format!("port {}\n", server.port())), "{text}");
    }
}
