//! A small HTTP server for pages that programs poll: metrics, health.
//!
//! Promise: at most four connections at one time per address, each over after five seconds, whatever the
//! other side does. Only GET and HEAD, one request per connection, no bodies, no TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that are served at one time, per address.
const CONNECTIONS: usize = 4;
/// Longest time for a request and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest request head in bytes.
const HEAD: usize = 8 * 1024;

/// What a path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whether all is well: status 200, else 503.
    pub good: bool,
    /// What `Content-Type` says.
    pub kind: &'static str,
    /// The text.
    pub body: String,
}

/// Gives the page of a path, if there is one. Called by several threads.
pub type Pages = Arc<dyn Fn(&str) -> Option<Page> + Send + Sync>;

/// Why pages are not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    /// The system's reason.
    #[source]
    source: io::Error,
}

/// Serves pages at all addresses until the program ends; the addresses with their real ports.
///
/// # Errors
/// When an address cannot be listened on.
pub fn serve(listen: &[SocketAddr], pages: &Pages) -> Result<Vec<SocketAddr>, ListenError> {
    let mut bound = Vec::new();
    for &address in listen {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        bound.push(listener.local_addr().map_err(failed)?);
        for number in 0..CONNECTIONS {
            let (listener, pages) = (listener.try_clone().map_err(failed)?, Arc::clone(pages));
            std::thread::Builder::new()
                .name(format!("http-{number}"))
                .spawn(move || accept(&listener, &pages))
                .map_err(failed)?;
        }
    }
    Ok(bound)
}

fn accept(listener: &TcpListener, pages: &Pages) {
    loop {
        match listener.accept() {
            // A client that does not wait for its answer is not an error.
            Ok((stream, _)) => drop(answer(stream, pages)),
            // No descriptor is free: not for long, one would hope.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn answer(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = [0; HEAD];
    let mut length = 0;
    let (status, page, with_body) = loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        let free = head.get_mut(length..).unwrap_or_default();
        if free.is_empty() {
            break ("431 Request Header Fields Too Large", None, true);
        }
        match stream.read(free)? {
            0 => return Ok(()),
            read => length += read,
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head.get(..length).unwrap_or_default()) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default();
                let path = path.split('?').next().unwrap_or_default();
                break match request.method {
                    Some(method @ ("GET" | "HEAD")) => match pages(path) {
                        Some(page) if page.good => ("200 OK", Some(page), method == "GET"),
                        Some(page) => ("503 Service Unavailable", Some(page), method == "GET"),
                        None => ("404 Not Found", None, method == "GET"),
                    },
                    _ => ("405 Method Not Allowed\r\nAllow: GET, HEAD", None, true),
                };
            }
            Err(_) => break ("400 Bad Request", None, true),
        }
    };
    let page = page.unwrap_or_else(|| Page {
        good: false,
        kind: "text/plain; charset=utf-8",
        body: format!("{}\n", status.lines().next().unwrap_or_default()),
    });
    let mut text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.kind,
        page.body.len()
    );
    if with_body {
        text.push_str(&page.body);
    }
    send(&mut stream, text.as_bytes(), deadline)?;
    stream.shutdown(Shutdown::Write)
}

fn send(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        let written = stream.write(bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Time until the deadline.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(remaining)
}
