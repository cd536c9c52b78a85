//! Looking whether a port on the loopback interface answers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::sys::Failure;

/// How long connecting, and each read, may take. The worker has a deadline of its own over all.
const PATIENCE: Duration = Duration::from_secs(5);
/// A status line is shorter than this.
const STATUS_LINE: usize = 256;

/// `tcp PORT` or `http PORT PATH`.
pub(super) fn look(at: &[&str]) -> Result<(), Failure> {
    let parse = |port: &str| port.parse::<u16>().map_err(Failure::at("read the port"));
    match at {
        ["tcp", port] => connect(parse(port)?).map(drop),
        ["http", port, path] => get(parse(port)?, path),
        _ => Err(Failure::new("unknown check")),
    }
}

fn connect(port: u16) -> Result<TcpStream, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, PATIENCE).map_err(Failure::at(format!("connect to {address}")))
}

fn get(port: u16, path: &str) -> Result<(), Failure> {
    let mut stream = connect(port)?;
    let mut exchange = || -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() < STATUS_LINE && !answer.ends_with(b"\n") && stream.read(&mut byte)? == 1 {
            answer.extend_from_slice(&byte);
        }
        Ok(answer)
    };
    let answer = exchange().map_err(Failure::at(format!("get {path} from port {port}")))?;
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(Failure::new(format!("port {port} answers {path} with status {status}"))),
        None => Err(Failure::new(format!("port {port} does not speak HTTP"))),
    }
}

/// The status of `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Looks at a server that answers `answer` to whatever it is sent.
    fn look_at(answer: &'static [u8]) -> Result<(), Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            request
        });
        let result = look(&["http", &port, "/up?x=1"]);
        assert!(server.join().unwrap().starts_with(b"GET /up?x=1 HTTP/1.1\r\nHost: localhost"));
        result
    }

    #[test]
    fn the_status_decides() {
        assert!(look_at(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(look_at(b"HTTP/1.0 302 Found\r\n").is_ok());
        for bad in
            [&b"HTTP/1.1 503 Later\r\n"[..], b"HTTP/1.1 404\r\n", b"hello\r\n", b"", b"HTTP/1.1 2000 x\r\n"]
        {
            assert!(look_at(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn nobody_listens() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let error = look(&["tcp", &free.to_string()]).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
