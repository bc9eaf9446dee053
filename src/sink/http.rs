//! A small HTTP server for the web page and for what programs poll: metrics, health.
//!
//! Promise: at most four connections at one time per address, each over after five seconds, whatever the
//! other side does. Only GET, HEAD and POST, one request per connection, no TLS. Bodies of requests are not read.

use std::borrow::Cow;
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

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To read: GET, or HEAD, whose answer has no body.
    Get,
    /// To change something.
    Post,
}

/// What a browser or program asks for. Everything in it is the other side's.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Who asks.
    pub from: SocketAddr,
    /// What is wanted.
    pub method: Method,
    /// The path without the query.
    pub path: &'a str,
    /// What stands behind the `?`; empty when nothing does.
    pub query: &'a str,
    /// Name or address under which this server was asked, with the port.
    pub host: Option<&'a str>,
    /// Scheme, name and port of the page that asks, where a browser says so.
    pub origin: Option<&'a str>,
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
}

/// How a request ended (RFC 9110 section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 431.
    HeadTooLarge,
    /// 503.
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized\r\nWWW-Authenticate: Bearer",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed\r\nAllow: GET, HEAD",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What `Content-Type` says of plain text.
const TEXT: &str = "text/plain; charset=utf-8";

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How the request ended.
    pub status: Status,
    /// What `Content-Type` says.
    pub kind: &'static str,
    /// Further header lines: name and value.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The text.
    pub body: Cow<'static, str>,
}

impl Page {
    /// A page without further header lines.
    pub fn new(status: Status, kind: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            kind,
            headers: Vec::new(),
            body: body.into(),
        }
    }
    /// A line of text.
    pub fn text(status: Status, line: &str) -> Self {
        Self::new(status, TEXT, format!("{line}\n"))
    }
    /// The name of the status as a line of text.
    fn bare(status: Status) -> Self {
        Self::text(status, status.line().lines().next().unwrap_or_default())
    }
}

/// Answers requests; `None` is 404. Called by several threads.
pub type Pages = Arc<dyn Fn(&HttpRequest<'_>) -> Option<Page> + Send + Sync>;

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
            Ok((stream, from)) => drop(answer(stream, from, pages)),
            // No descriptor is free: not for long, one would hope.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn answer(mut stream: TcpStream, from: SocketAddr, pages: &Pages) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = [0; HEAD];
    let mut length = 0;
    let (page, with_body) = loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        let free = head.get_mut(length..).unwrap_or_default();
        if free.is_empty() {
            break (Page::bare(Status::HeadTooLarge), true);
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
                break (page(&request, from, pages), request.method != Some("HEAD"));
            }
            Err(_) => break (Page::bare(Status::BadRequest), true),
        }
    };
    let mut text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n",
        page.status.line(),
        page.kind,
        page.body.len()
    );
    for (name, value) in page.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    if with_body {
        text.push_str(&page.body);
    }
    send(&mut stream, text.as_bytes(), deadline)?;
    stream.shutdown(Shutdown::Write)
}

fn page(request: &httparse::Request<'_, '_>, from: SocketAddr, pages: &Pages) -> Page {
    let method = match request.method {
        Some("GET" | "HEAD") => Method::Get,
        Some("POST") => Method::Post,
        _ => return Page::bare(Status::MethodNotAllowed),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (Ok(host), Ok(origin), Ok(authorization)) = (
        header(request, "host"),
        header(request, "origin"),
        header(request, "authorization"),
    ) else {
        return Page::bare(Status::BadRequest);
    };
    let request = HttpRequest {
        from,
        method,
        path,
        query,
        host,
        origin,
        authorization,
    };
    pages(&request).unwrap_or_else(|| Page::bare(Status::NotFound))
}

/// A header that comes twice, or is no text.
struct Ambiguous;

fn header<'h>(request: &httparse::Request<'h, '_>, name: &str) -> Result<Option<&'h str>, Ambiguous> {
    let headers: &[httparse::Header<'h>] = request.headers;
    let mut values = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value).map(Some).map_err(|_| Ambiguous),
        (Some(_), Some(_)) => Err(Ambiguous),
    }
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
