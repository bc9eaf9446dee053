//! Any bytes to the control socket: each line is answered by one line of JSON, and requests are written as they are
//! read.
#![no_main]

use std::ffi::c_char;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;

use btblocker::control::{Reply, Request, Requests, Server};
use btblocker_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// A server that is there until the end, with a daemon that says which request it got.
static SERVER: LazyLock<(PathBuf, Server)> = LazyLock::new(|| {
    let path = folder().join("control.sock");
    let (requests, asked) = Requests::queue();
    std::thread::spawn(move || {
        for asked in asked {
            let _ = asked.reply.try_send(Reply::Done(format!("{:?}", asked.request)));
        }
    });
    let server = Server::listen(&path, requests).unwrap();
    (path, server)
});

/// Asked by the address sanitizer when it begins: a thread of the server that has just answered still holds memory
/// when leaks are looked for.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const c_char {
    c"detect_leaks=0".as_ptr()
}

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let written = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&written).unwrap(), request);
    }
    let mut stream = UnixStream::connect(&SERVER.0).unwrap();
    // The server leaves behind a line that is too long.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let lines = input.iter().filter(|byte| **byte == b'\n').count();
    let answers = String::from_utf8(answers).unwrap();
    assert!(answers.lines().count() <= lines + 1, "{answers}");
    for answer in answers.lines() {
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert!(answer["ok"].is_boolean(), "{answer}");
    }
});
