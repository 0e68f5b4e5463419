//! A blocking RESP client on std's sockets: it sends words, reads replies of both protocol versions, and nothing more.
//!
//! Every read has a time limit, so that a server that hangs is a failed test and not a test that never ends.

use crate::value::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one reply may take.
const REPLY_TIMEOUT_S: u64 = 30;

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

/// A command as bytes in RESP's request form.
pub fn encode<W: AsRef<[u8]>>(words: &[W], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(REPLY_TIMEOUT_S)))?;
        stream.set_write_timeout(Some(Duration::from_secs(REPLY_TIMEOUT_S)))?;
        Ok(Client { stream, buffer: Vec::new(), at: 0 })
    }

    /// The same connection for a second thread, for sending while the first one reads.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        let mut request = Vec::new();
        encode(words, &mut request);
        self.send_raw(&request)
    }

    /// Sends a command and reads its reply; panics when the server is too slow, answers `Closed` when it hung up.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Value {
        if self.send(words).is_err() {
            return Value::Closed;
        }
        self.read()
    }

    /// As `call`, from one line of words parted by single blanks.
    pub fn run(&mut self, line: &str) -> Value {
        self.call(&line.split(' ').collect::<Vec<_>>())
    }

    /// As `run`, for commands that must answer OK.
    pub fn ok(&mut self, line: &str) {
        let reply = self.run(line);
        assert!(reply.is_ok(), "{line} answered {}", reply.render());
    }

    /// What a section of INFO says of one thing.
    pub fn figure(&mut self, section: &str, name: &str) -> String {
        let info = self.run(&format!("INFO {section}")).text();
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("INFO {section} has no {name}")).trim().to_owned()
    }

    /// The next reply; `Closed` at the end of the connection.
    pub fn read(&mut self) -> Value {
        match self.try_read() {
            Ok(value) => value,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no reply within {REPLY_TIMEOUT_S} s")
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => panic!("{e}"),
            Err(_) => Value::Closed,
        }
    }

    /// The next reply, with the error when there is none.
    pub fn try_read(&mut self) -> io::Result<Value> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let line = self.read_line()?;
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not RESP: {}", String::from_utf8_lossy(&line)),
            )
        };
        let (kind, rest) = line.split_first().ok_or_else(bad)?;
        let number = || std::str::from_utf8(rest).ok().and_then(|t| t.parse::<i64>().ok()).ok_or_else(bad);
        Ok(match kind {
            b'+' => Value::Simple(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b':' => Value::Integer(number()?),
            b'$' if number()? == -1 => Value::NullBulk,
            b'$' => Value::Bulk(self.read_blob(number()? as usize)?),
            b'=' => Value::Verbatim(self.read_blob(number()? as usize)?),
            b'!' => Value::Error(self.read_blob(number()? as usize)?),
            b'*' if number()? == -1 => Value::NullArray,
            b'*' => Value::Array(self.read_items(number()?)?),
            b'~' => Value::Set(self.read_items(number()?)?),
            b'>' => Value::Push(self.read_items(number()?)?),
            b'%' => {
                let items = self.read_items(number()? * 2)?;
                Value::Map(items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
            }
            b'_' if rest.is_empty() => Value::Null,
            b'#' if rest == b"t" => Value::Boolean(true),
            b'#' if rest == b"f" => Value::Boolean(false),
            b',' => Value::Double(rest.to_vec()),
            b'(' => Value::BigNumber(rest.to_vec()),
            _ => return Err(bad()),
        })
    }

    /// Everything that comes until the server closes the connection.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = self.buffer.split_off(self.at);
        match self.stream.read_to_end(&mut rest) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(rest),
            Err(e) => Err(e),
            Ok(_) => Ok(rest),
        }
    }

    fn read_items(&mut self, count: i64) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.try_read()).collect()
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut from = self.at;
        loop {
            if let Some(i) = self.buffer[from..].iter().position(|&b| b == b'\n') {
                let end = from + i;
                let line = self.buffer[self.at..end]
                    .strip_suffix(b"\r")
                    .unwrap_or(&self.buffer[self.at..end])
                    .to_vec();
                self.at = end + 1;
                return Ok(line);
            }
            from = self.buffer.len();
            self.fill()?;
        }
    }

    fn read_blob(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.at < len + 2 {
            self.fill()?;
        }
        let blob = self.buffer[self.at..self.at + len].to_vec();
        self.at += len + 2;
        Ok(blob)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0u8; 64 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }
}
