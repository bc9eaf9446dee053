//! Programs and web hooks that are told of bans, by well-behaved and other servers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::lab::{Daemon, cable, play, until};
use crate::namespace::in_namespace;

const HOST: &str = "10.77.1.11";

/// Reads a request; its head in lower case, and its body.
fn request(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A server that does `answer` with each connection, counted from 0.
fn server(mut answer: impl FnMut(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            answer(number, stream);
        }
    });
    format!("http://{address}/hook")
}

/// A server that answers with these statuses, then with 200; what it was asked.
fn recorder(statuses: &'static [u16]) -> (String, Receiver<(String, String)>) {
    let (seen, requests) = channel();
    let url = server(move |number, mut stream| {
        let _ = seen.send(request(&stream));
        let status = statuses.get(number).unwrap_or(&200);
        let more = "Location: /elsewhere\r\nContent-Length: 0\r\n";
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Said\r\n{more}Connection: close\r\n\r\n"
        );
    });
    (url, requests)
}

fn next(requests: &Receiver<(String, String)>) -> (String, String) {
    requests.recv_timeout(Duration::from_secs(30)).unwrap()
}

#[test]
fn a_web_hook_gets_ban_and_unban_with_its_headers() {
    in_namespace(|| {
        cable();
        let (url, requests) = recorder(&[]);
        let arguments = ["--ban-duration=1", "--webhook-url", &url];
        let headers = ["--webhook-headers", "Authorization: Bearer x, X-Two: 2"];
        let _daemon = Daemon::start(&[&arguments[..], &headers].concat());
        play("bt-libtorrent-plain-v4");
        let mut told = Vec::new();
        while !told.contains(&("unban".to_owned(), HOST.to_owned())) {
            let (head, body) = next(&requests);
            for part in [
                "post /hook ",
                "authorization: bearer x",
                "x-two: 2",
                "application/json",
                "btblocker/",
            ] {
                assert!(head.contains(part), "{part} is not in {head}");
            }
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            if body["event"] == "ban" {
                assert_eq!(
                    (text("interface").as_str(), text("technique").as_str()),
                    ("watched", "handshake")
                );
            }
            told.push((text("event"), text("address")));
        }
        assert!(told.contains(&("ban".to_owned(), HOST.to_owned())), "{told:?}");
    });
}

#[test]
fn a_web_hook_is_reached_without_the_proxy_of_the_environment() {
    in_namespace(|| {
        cable();
        let (url, requests) = recorder(&[]);
        // Nobody listens there.
        let variables = [
            ("http_proxy", "http://127.0.0.1:9"),
            ("ALL_PROXY", "http://127.0.0.1:9"),
        ];
        let mut daemon = Daemon::spawn(&["--webhook-url", &url], &variables);
        daemon.wait_for("ready");
        play("bt-libtorrent-plain-v4");
        assert!(next(&requests).0.starts_with("post /hook "));
    });
}

#[test]
fn what_is_only_monitored_is_told_so_and_no_program_is_run() {
    in_namespace(|| {
        cable();
        let (url, requests) = recorder(&[]);
        let arguments = ["--monitor-only", "--ban-duration=1", "--webhook-url", &url];
        let programs = ["--on-ban", "/nonexistent", "--on-unban", "/nonexistent"];
        let daemon = Daemon::start(&[&arguments[..], &programs].concat());
        play("bt-libtorrent-plain-v4");
        let mut told = Vec::new();
        while !told.contains(&("would-unban".to_owned(), HOST.to_owned())) {
            let body: serde_json::Value = serde_json::from_str(&next(&requests).1).unwrap();
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            told.push((text("event"), text("address")));
        }
        assert!(
            told.contains(&("would-ban".to_owned(), HOST.to_owned())),
            "{told:?}"
        );
        assert!(
            told.iter().all(|(event, _)| event.starts_with("would-")),
            "{told:?}"
        );
        let (log, status) = daemon.stop();
        assert!(
            status.success() && !log.iter().any(|line| line.contains("cannot be run")),
            "{log:?}"
        );
    });
}

#[test]
fn a_busy_server_is_asked_again_and_a_refusal_is_not() {
    for (statuses, times) in [(&[503, 429][..], 3), (&[404], 1), (&[302], 1)] {
        in_namespace(move || {
            cable();
            let (url, requests) = recorder(statuses);
            let body = r#"{"text": "{event} {address}"}"#;
            let mut daemon = Daemon::start(&["--webhook-url", &url, "--webhook-body", body]);
            play("bt-libtorrent-plain-v4");
            let (_, first) = next(&requests);
            assert!(first.starts_with(r#"{"text": "ban "#), "{first}");
            let mut alike = 1;
            // The next notice, about another host, comes when this one is done.
            while next(&requests).1 == first {
                alike += 1;
            }
            assert_eq!(alike, times, "{statuses:?}");
            if times == 1 {
                let line = daemon.wait_for("webhook: not told of ban");
                assert!(
                    line.contains(&statuses[0].to_string()) && !line.contains(&url),
                    "{line}"
                );
            }
        });
    }
}

#[test]
fn notices_about_one_host_come_once_in_a_while() {
    for (cooldown, more) in [("0s", true), ("1m", false)] {
        in_namespace(move || {
            cable();
            let (url, requests) = recorder(&[]);
            let arguments = ["--ban-duration=1", "--webhook-url", &url];
            let mut daemon = Daemon::start(&[&arguments[..], &["--webhook-cooldown", cooldown]].concat());
            for case in ["bt-libtorrent-plain-v4", "bt-transmission-v4"] {
                play(case);
                daemon.wait_for(&format!("banned {HOST}"));
                daemon.wait_for(&format!("unbanned {HOST}"));
            }
            daemon.stop();
            let is_ban = |body: &str| {
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                body["event"] == "ban" && body["address"] == HOST
            };
            let bans = requests.try_iter().filter(|(_, body)| is_ban(body)).count();
            assert_eq!(bans > 1, more, "{bans} with {cooldown}");
            assert!(bans > 0);
        });
    }
}

#[test]
fn servers_that_are_slow_dead_or_hostile_stop_nothing() {
    type Answer = fn(usize, TcpStream);
    let silent: Answer = |_, stream| std::mem::forget(stream);
    let garbage: Answer = |_, mut stream| drop(stream.write_all(&[0x16; 100_000]));
    let endless_head: Answer = |_, mut stream| {
        request(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: and more and more\r\n").is_ok() {}
    };
    let huge_header: Answer = |_, mut stream| {
        request(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-More: ");
        let _ = stream.write_all(&vec![b'x'; 8 << 20]);
    };
    let trickle: Answer = |_, mut stream| {
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let endless_body: Answer = |_, mut stream| {
        request(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    };
    let gone: Answer = |_, stream| drop(stream);
    for (name, answer) in [
        ("silent", Some(silent)),
        ("garbage", Some(garbage)),
        ("endless head", Some(endless_head)),
        ("huge header", Some(huge_header)),
        ("trickle", Some(trickle)),
        ("endless body", Some(endless_body)),
        ("gone", Some(gone)),
        ("dead", None),
    ] {
        in_namespace(move || {
            cable();
            let url = answer.map_or_else(|| "http://127.0.0.1:9/".to_owned(), server);
            let mut daemon = Daemon::start(&["--monitor-only", "--webhook-url", &url]);
            play("bt-libtorrent-plain-v4");
            daemon.wait_for("banned");
            play("bt-aria2-v4");
            let start = Instant::now();
            assert!(daemon.stop().1.success(), "{name}");
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{name}: {:?}",
                start.elapsed()
            );
        });
    }
}

#[test]
fn an_answer_counts_however_late_it_comes_and_whatever_follows_it() {
    let late: fn(&mut TcpStream) = |stream| {
        std::thread::sleep(Duration::from_secs(2));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    };
    let endless: fn(&mut TcpStream) = |stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    };
    for answer in [late, endless] {
        in_namespace(move || {
            cable();
            let (seen, requests) = channel();
            let url = server(move |_, mut stream| {
                let _ = seen.send(request(&stream));
                std::thread::spawn(move || answer(&mut stream));
            });
            // Two hosts, each told once: an answer that did not count would be followed by the same again.
            let daemon = Daemon::start(&["--monitor-only", "--webhook-url", &url]);
            play("bt-libtorrent-plain-v4");
            let bodies = [next(&requests).1, next(&requests).1];
            assert_ne!(bodies[0], bodies[1]);
            let (said, status) = daemon.stop();
            assert!(status.success());
            assert!(!said.iter().any(|line| line.contains("not told")), "{said:#?}");
            assert_eq!(requests.try_iter().count(), 0);
        });
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.args(arguments.split(' ')).current_dir(folder.path());
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .stdin(Stdio::piped());
            command.spawn().expect("openssl runs")
        };
        let made = "req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 1 -subj /CN=localhost";
        assert!(openssl(made).wait().unwrap().success());
        let mut server = openssl("s_server -accept 127.0.0.1:4433 -cert cert -key key -quiet");
        until("the server", || TcpStream::connect("127.0.0.1:4433").ok());
        // A lasting trouble would be said at once; this one is tried again, so the end says it.
        let mut daemon = Daemon::start(&["--monitor-only", "--webhook-url", "https://127.0.0.1:4433/"]);
        play("bt-libtorrent-plain-v4");
        let line = daemon.wait_for("webhook: not told of");
        assert!(
            line.contains("certificate") || line.contains("UnknownIssuer"),
            "{line}"
        );
        server.kill().unwrap();
        server.wait().unwrap();
    });
}

/// A program that appends its arguments to a file.
fn program(folder: &std::path::Path) -> (String, std::path::PathBuf) {
    let (script, said) = (folder.join("tell"), folder.join("said"));
    fs::write(
        &script,
        format!("#!/bin/sh\nprintf '%s|' \"$@\" >>{said:?}\necho >>{said:?}\n"),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // Programs are not run as root.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    (script.to_str().unwrap().to_owned(), said)
}

#[test]
fn programs_are_run_without_a_shell() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let (script, said) = program(folder.path());
        let on_ban = format!("{script}, {{event}} {{address}}, $(id); rm, {{technique}}, {{unknown}}");
        let on_unban = format!("{script}, gone, {{address}}");
        let arguments = ["--on-ban", &on_ban, "--on-unban", &on_unban];
        let _daemon = Daemon::start(&[&["--ban-duration=1"][..], &arguments].concat());
        play("bt-libtorrent-plain-v4");
        let both = [
            format!("ban {HOST}|$(id); rm|handshake|{{unknown}}|"),
            format!("gone|{HOST}|"),
        ];
        until("both programs", || {
            let text = fs::read_to_string(&said).ok()?;
            both.iter()
                .all(|line| text.lines().any(|found| found == line))
                .then_some(())
        });
    });
}

#[test]
fn ends_by_cleanup_on_stop_are_told() {
    in_namespace(|| {
        cable();
        let folder = tempfile::tempdir().unwrap();
        let (script, said) = program(folder.path());
        let (url, requests) = recorder(&[]);
        let on_unban = format!("{script}, {{address}}, {{reason}}");
        let arguments = ["--cleanup-on-stop", "--webhook-url", &url];
        let mut daemon = Daemon::start(&[&arguments[..], &["--on-unban", &on_unban]].concat());
        play("bt-libtorrent-plain-v4");
        daemon.wait_for(&format!("banned {HOST}"));
        let (log, status) = daemon.stop();
        let why = "btblocker stops (cleanup_on_stop)";
        assert!(status.success());
        assert!(
            log.iter()
                .any(|line| line.contains(&format!("unbanned {HOST}: {why}"))),
            "{log:?}"
        );
        let told = fs::read_to_string(&said).unwrap();
        assert!(told.contains(&format!("{HOST}|{why}|")), "{told}");
        let bodies = requests.try_iter().map(|(_, body)| body);
        let is_end = |body: &String| body.contains(r#""event":"unban""#) && body.contains(HOST);
        assert!(bodies.filter(is_end).count() == 1);
    });
}

#[test]
fn programs_that_fail_or_hang_are_named_and_stop_nothing() {
    in_namespace(|| {
        cable();
        for (on_ban, said) in [
            ("/nonexistent", "on_ban /nonexistent: cannot be run"),
            ("false", "on_ban false: failed for "),
            ("sleep,1000", "on_ban sleep: killed after 10 s"),
        ] {
            let mut daemon = Daemon::start(&["--cleanup-on-stop", "--on-ban", on_ban]);
            play("bt-libtorrent-plain-v4");
            daemon.wait_for(said);
            let start = Instant::now();
            assert!(daemon.stop().1.success());
            assert!(
                start.elapsed() < Duration::from_secs(8),
                "{said}: {:?}",
                start.elapsed()
            );
        }
    });
}
