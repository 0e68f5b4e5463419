//! One connection of the generator: a non-blocking socket, what is still to be written, and what is still to be answered.

use super::replies::Replies;
use super::tally::{Flight, Lane};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long connecting, AUTH and SELECT may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where and as whom to connect.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Words of an AUTH command, without its name; empty for none.
    pub auth: Vec<String>,
    /// The logical database.
    pub database: u32,
}

/// A connected socket and its requests.
pub struct Connection {
    /// The socket, for the poller.
    pub stream: TcpStream,
    /// Bytes to write; those before `written` have gone out.
    pub out: Vec<u8>,
    written: usize,
    /// Requests under way.
    pub flight: Flight,
    /// Its part of an open loop.
    pub lane: Option<Lane>,
    /// Whether the poller tells when there is room to write.
    pub awaits_room: bool,
    /// Neither sends nor waits any more.
    pub is_done: bool,
}

impl Connection {
    /// Connects, says who it is, and becomes non-blocking.
    pub fn open(target: &Target) -> Result<Connection, String> {
        let place = format!("{}:{}", target.host, target.port);
        let refuse = |error: io::Error| format!("{place}: {error}");
        let mut stream = TcpStream::connect((target.host.as_str(), target.port)).map_err(refuse)?;
        stream.set_nodelay(true).map_err(refuse)?;
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(refuse)?;
        let mut commands: Vec<Vec<String>> = Vec::new();
        if !target.auth.is_empty() {
            commands.push(std::iter::once("AUTH".to_string()).chain(target.auth.iter().cloned()).collect());
        }
        if target.database != 0 {
            commands.push(vec!["SELECT".to_string(), target.database.to_string()]);
        }
        for words in commands {
            ask(&mut stream, &words).map_err(|error| format!("{place}: {}: {error}", words[0]))?;
        }
        stream.set_nonblocking(true).map_err(refuse)?;
        Ok(Connection {
            stream,
            out: Vec::new(),
            written: 0,
            flight: Flight::default(),
            lane: None,
            awaits_room: false,
            is_done: false,
        })
    }

    /// Writes what it can; true when all has gone out.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads once: how many bytes, 0 when there is nothing at the moment.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(count) => Ok(count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Sends one command on a blocking socket and waits for a reply that is no error.
fn ask(stream: &mut TcpStream, words: &[String]) -> Result<(), String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut replies = Replies::default();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the server closed the connection".to_string());
        }
        if replies.next(&mut &buffer[..count]).map_err(|_| "the answer is not RESP")?.is_some() {
            break;
        }
    }
    match replies.first_error() {
        [] => Ok(()),
        text => Err(String::from_utf8_lossy(text).into_owned()),
    }
}
