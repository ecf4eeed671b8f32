//! A small blocking HTTP client: bytes as they are, one connection a call, nothing retried.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status; 0: no answer that could be read.
    pub status: u16,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A master's door.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where.
    pub address: SocketAddr,
    /// What is shown there.
    pub token: String,
}

impl Api {
    /// A GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, b"")
    }

    /// A GET that gives JSON; null when it does not.
    #[must_use]
    pub fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        if answer.status == 200 { answer.json() } else { serde_json::Value::Null }
    }

    /// Any call with the token.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        read(&exchange(self.address, &bytes).unwrap_or_default())
    }
}

/// The events of a stream, as JSON, until it ends or is silent for half a minute.
///
/// # Errors
/// When the connection fails.
pub fn events(
    api: &Api,
    path: &str,
) -> std::io::Result<impl Iterator<Item = serde_json::Value> + use<>> {
    let mut stream = TcpStream::connect_timeout(&api.address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let head = format!(
        "GET {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        api.address, api.token
    );
    stream.write_all(head.as_bytes())?;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()))
}

/// Sends bytes and reads until the other side closes.
///
/// # Errors
/// When the connection fails.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    // A reset after the answer takes nothing from it.
    let ended = stream.read_to_end(&mut answer);
    if answer.is_empty() { ended.map(|_| answer) } else { Ok(answer) }
}

/// Takes an answer apart.
#[must_use]
pub fn read(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Answer { status, body }
}
