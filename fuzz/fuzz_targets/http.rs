//! Any bytes to the HTTP server of metrics and web page: nothing, or one whole answer.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};

use btblocker::sink::{Page, Pages, Status, serve};
use libfuzzer_sys::fuzz_target;

/// A server that is there until the end, and says what it was asked.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let pages: Pages = Arc::new(|request| {
        assert!(!request.path.contains('?'));
        Some(Page::text(Status::Ok, &format!("{request:?}")))
    });
    serve(&["127.0.0.1:0".parse().unwrap()], &pages).unwrap()[0]
});

fuzz_target!(|input: &[u8]| {
    let mut stream = TcpStream::connect(*SERVER).unwrap();
    // The server leaves as soon as it has an answer.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if stream.read_to_end(&mut answer).is_err() || answer.is_empty() {
        return;
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    assert!(body.is_empty() || body.len().to_string() == length, "{answer}");
});
