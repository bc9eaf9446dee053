//! The web page as browsers, foreign pages and curious people ask for it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Daemon, cable, play, until};
use crate::namespace::in_namespace;

const ADDRESS: &str = "127.0.0.1:9475";
const TOKEN: &str = "correct-horse-battery-staple";

/// A file with the token; its folder lives as long as the first.
fn token_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (folder, path)
}

fn daemon(more: &[&str]) -> Daemon {
    cable();
    Daemon::start(&[&["--monitor-only", "--metrics-listen", ADDRESS], more].concat())
}

/// Sends a request with these header lines; the status line with the headers, and the body.
fn ask(request: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(ADDRESS).unwrap();
    write!(stream, "{request} HTTP/1.1\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Asks as the page itself does.
fn own(request: &str, more: &str) -> (String, String) {
    let headers = format!("Host: {ADDRESS}\r\nOrigin: http://{ADDRESS}\r\n{more}");
    ask(request, &headers)
}

fn status(answer: &(String, String)) -> u16 {
    answer.0.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What the page shows, of the only run.
fn shown() -> Value {
    let (head, body) = own("GET /overview.json", "");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    serde_json::from_str(&body).unwrap()
}

fn bans(shown: &Value) -> Vec<String> {
    let bans = shown["captures"][0]["bans"].as_array().unwrap().iter();
    bans.map(|ban| ban["address"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits for a ban; the address.
fn a_ban() -> String {
    play("bt-libtorrent-plain-v4");
    until("a ban that is shown", || bans(&shown()).into_iter().next())
}

#[test]
fn the_page_shows_what_was_seen_and_banned() {
    in_namespace(|| {
        let daemon = daemon(&[]);
        let (head, page) = own("GET /", "");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        for line in [
            "Content-Type: text/html; charset=utf-8",
            "Content-Security-Policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cache-Control: no-store",
        ] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        let banned = a_ban();
        // What is shown may be a second old, and verdicts come before the ban.
        let run = until("all that belongs to it", || {
            let run = shown()["captures"][0].clone();
            let samples = run["history"].as_array()?;
            let recorded: u64 = samples.iter().filter_map(|sample| sample[4].as_u64()).sum();
            (recorded >= 1 && run["interfaces"][0]["received"].as_u64()? >= 10).then_some(run)
        });
        assert_eq!(shown()["unban"], false);
        assert_eq!(
            (&run["source"], &run["backend"]),
            (&"watched".into(), &"dry-run".into())
        );
        assert!(run["active_bans"].as_u64().unwrap() >= 1);
        let host = run["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|host| host["address"] == banned.as_str());
        let host = host.unwrap();
        assert_eq!(
            (&host["state"], &host["origin"]),
            (&"banned".into(), &"watched".into())
        );
        assert!(host["evidence"].as_str().unwrap().contains("handshake"), "{host}");
        let techniques = run["techniques"].as_array().unwrap();
        assert!(
            techniques
                .iter()
                .any(|technique| technique["name"] == "handshake" && technique["flows"] != 0)
        );
        assert!(run["troubles"][0].as_str().unwrap().contains("monitor_only"));
        assert!(daemon.stop().1.success());
    });
}

#[test]
fn bans_are_lifted_with_the_token_only() {
    in_namespace(|| {
        let (_folder, path) = token_file();
        let mut daemon = daemon(&["--web-token-file", path.to_str().unwrap()]);
        let banned = a_ban();
        assert_eq!(shown()["unban"], true);
        let unban = format!("/unban?address={}", banned.replace(':', "%3A"));
        let right = format!("Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n");
        let (post, get) = (format!("POST {unban}"), format!("GET {unban}"));
        let host = format!("Host: {ADDRESS}\r\n");
        for (request, headers, expected) in [
            (&post, host.clone(), 401),
            (&post, format!("{host}Authorization: Bearer {TOKEN}x\r\n"), 401),
            (&post, format!("{host}Authorization: Bearer \r\n"), 401),
            (&post, format!("{host}Authorization: Basic {TOKEN}\r\n"), 401),
            (&get, format!("{host}{right}"), 404),
            // A name that somebody else can make point here, and pages of others.
            (&post, format!("Host: rebound.example:9475\r\n{right}"), 403),
            (&post, right.clone(), 403),
            (
                &post,
                format!("{host}Origin: http://evil.example\r\n{right}"),
                403,
            ),
            (&post, format!("{host}Origin: null\r\n{right}"), 403),
            (&post, format!("{host}{host}{right}"), 400),
            (
                &"POST /unban?address=everybody".to_owned(),
                format!("{host}{right}"),
                400,
            ),
            (&"POST /unban".to_owned(), format!("{host}{right}"), 400),
        ] {
            let answer = ask(request, &headers);
            assert_eq!(status(&answer), expected, "{request} {headers}: {answer:?}");
        }
        assert!(bans(&shown()).contains(&banned), "nothing of this lifts a ban");
        daemon.wait_for("gave a wrong token to the web page");
        let answer = own(&post, &right);
        assert_eq!((status(&answer), answer.1), (200, format!("{banned} unbanned\n")));
        daemon.wait_for(&format!("unbanned {banned}: by command"));
        assert!(
            !bans(&shown()).contains(&banned),
            "what is shown is not of before"
        );
        let (log, status) = daemon.stop();
        assert!(status.success());
        assert!(
            !log.iter().any(|line| line.contains(TOKEN)),
            "the token is in the log"
        );
    });
}

#[test]
fn without_a_token_nobody_lifts_bans() {
    in_namespace(|| {
        let _daemon = daemon(&[]);
        let answer = own("POST /unban?address=192.0.2.1", "Authorization: Bearer x\r\n");
        assert_eq!(status(&answer), 403);
        assert!(answer.1.contains("web_token_file"), "{answer:?}");
    });
}

#[test]
fn a_token_that_protects_nothing_stops_the_start() {
    in_namespace(|| {
        cable();
        let (_folder, path) = token_file();
        let file = path.to_str().unwrap().to_owned();
        let start = |path: &str| {
            let arguments = [
                "--monitor-only",
                "--metrics-listen",
                ADDRESS,
                "--web-token-file",
                path,
            ];
            Daemon::spawn(&arguments, &[])
        };
        start("/nonexistent/token").wait_for("web_token_file: cannot read /nonexistent/token");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        start(&file).wait_for("can be read by everybody");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        start(&file).wait_for("16 to 256");
    });
}

#[test]
fn foreign_names_do_not_read_the_page() {
    in_namespace(|| {
        let _daemon = daemon(&[]);
        for path in ["/", "/overview.json"] {
            let get = format!("GET {path}");
            for (headers, expected) in [
                ("Host: rebound.example\r\n", 403),
                ("", 403),
                ("Host: localhost:9475\r\nOrigin: http://evil.example\r\n", 403),
                ("Host: localhost:9475\r\n", 200),
                ("Host: [::1]:9475\r\n", 200),
            ] {
                assert_eq!(status(&ask(&get, headers)), expected, "{path} {headers}");
            }
            assert_eq!(status(&own(&format!("POST {path}"), "")), 405);
            assert_eq!(status(&own(&format!("OPTIONS {path}"), "")), 405);
        }
        let (head, body) = own("HEAD /", "");
        assert!(head.contains("Content-Length: ") && body.is_empty());
    });
}
