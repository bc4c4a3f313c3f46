//! Plain HTTP for admin ports.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an admin port may take; it answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The status and body of a GET.
///
/// # Errors
/// When nobody listens, or what comes is no answer.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask("GET", address, path)
}

/// The status of a POST without a body.
///
/// # Errors
/// As for [`get`].
pub fn post(address: SocketAddr, path: &str) -> io::Result<u16> {
    ask("POST", address, path).map(|(status, _)| status)
}

fn ask(method: &str, address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: 0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let no_answer = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_answer)?;
    Ok((status, body.to_owned()))
}

/// Whether a GET is answered with 200.
pub fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|(status, _)| status == 200)
}
