//! Metrics and health over HTTP, as Prometheus and worse clients ask for them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use btblocker::metrics::{Counters, DaemonCounters, Snapshot, exposition};

use crate::lab::{Daemon, cable, play, send, until};
use crate::namespace::in_namespace;

pub(crate) const ADDRESS: &str = "127.0.0.1:9475";

fn daemon() -> Daemon {
    cable();
    Daemon::start(&["--monitor-only", "--metrics-listen", ADDRESS])
}

/// Sends a request as it is; the whole answer.
fn ask(request: &[u8]) -> String {
    let mut stream = TcpStream::connect(ADDRESS).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that refuses a request before it has read it all may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

pub(crate) fn get(path: &str) -> String {
    ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

/// Value of a sample.
pub(crate) fn value(text: &str, sample: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn what_happens_is_counted_and_served() {
    in_namespace(|| {
        let mut daemon = daemon();
        play("bt-libtorrent-plain-v4");
        daemon.wait_for("banned");
        let text = until("a served ban", || {
            let text = get("/metrics");
            value(&text, "btblocker_bans_active").filter(|active| *active >= 1.0)?;
            Some(text)
        });
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
            "{text}"
        );
        for (sample, least) in [
            ("btblocker_packets_total", 10.0),
            ("btblocker_bytes_total", 1_000.0),
            ("btblocker_flows_total{event=\"created\"}", 1.0),
            (
                "btblocker_evidence_total{technique=\"handshake\",confidence=\"conclusive\"}",
                1.0,
            ),
            ("btblocker_verdicts_total{technique=\"handshake\"}", 1.0),
            ("btblocker_bans_total{technique=\"handshake\"}", 1.0),
            ("btblocker_interface_received_total{interface=\"watched\"}", 10.0),
            ("btblocker_start_time_seconds", 1.0),
        ] {
            // The kernel's numbers are read twice a second.
            until(sample, || {
                value(&get("/metrics"), sample).filter(|found| *found >= least)
            });
        }
        assert!(get("/healthz").ends_with("\r\n\r\nok\n"));
        promtool(text.split_once("\r\n\r\n").unwrap().1);
        assert!(daemon.stop().1.success());
    });
}

/// A DHT query of a host of its own, by number.
fn query(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let message = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 28 + message.len() as u8, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([8, 8, high, low, 10, 77, 1, 11, high, low, 0x1a, 0xe1]);
    frame.extend([0, 8 + message.len() as u8, 0, 0]);
    frame.extend(message);
    frame
}

#[test]
fn no_host_technique_or_client_adds_a_series() {
    const HOSTS: u16 = 5_000;
    in_namespace(|| {
        let mut daemon = daemon();
        let series = || -> BTreeSet<String> {
            let text = get("/metrics");
            let samples = text.lines().filter(|line| line.starts_with("btblocker_"));
            samples
                .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
                .collect()
        };
        let before = series();
        for case in [
            "bt-libtorrent-plain-v4",
            "bt-ktorrent-v4",
            "bt-aria2-plain-v4",
            "bt-libtorrent-utp-v6-tun",
            "bt-libtorrent-udp-tracker-v4",
        ] {
            play(case);
        }
        daemon.wait_for("banned");
        send((0..HOSTS).map(query));
        let dht = "btblocker_evidence_total{technique=\"dht\",confidence=\"conclusive\"}";
        until("most of the hosts are seen", || {
            value(&get("/metrics"), dht).filter(|seen| *seen >= f64::from(HOSTS) / 2.0)
        });
        assert_eq!(series(), before);
        let lines = daemon.stop().0.len();
        println!(
            "{HOSTS} hosts: {} series before and after, {lines} lines of log",
            before.len()
        );
        assert!(lines < 100, "{lines} lines of log");
    });
}

/// A uTP connection attempt between two hosts of its own, by number.
fn attempt(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([8, a, b, c, 9, a, b, c, 0x1a, 0xe1, 0xc8, 0xd5, 0, 28, 0, 0]);
    frame.extend([0x41, 0, b, c]);
    frame.extend(number.wrapping_mul(2_654_435_761).to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0]);
    frame
}

#[test]
fn what_the_judge_has_no_room_for_is_counted() {
    in_namespace(|| {
        let _daemon = daemon();
        let mut attempts = (0..1 << 24).map(attempt);
        until("hosts give way to others", || {
            send(attempts.by_ref().take(4_096));
            let displaced = "btblocker_judge_displaced_total{table=\"hosts\"}";
            value(&get("/metrics"), displaced).filter(|count| *count > 0.0)
        });
    });
}

/// Prometheus' own opinion, where it is installed.
fn promtool(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn nothing_is_served_unless_asked_for() {
    in_namespace(|| {
        cable();
        let _daemon = Daemon::start(&["--monitor-only"]);
        assert!(TcpStream::connect(ADDRESS).is_err());
    });
}

#[test]
fn an_address_in_use_stops_the_start() {
    in_namespace(|| {
        cable();
        let _taken = std::net::TcpListener::bind(ADDRESS).unwrap();
        let mut daemon = Daemon::spawn(&["--monitor-only", "--metrics-listen", ADDRESS], &[]);
        daemon.wait_for("cannot listen on 127.0.0.1:9475");
    });
}

#[test]
fn bad_requests_are_refused() {
    in_namespace(|| {
        let _daemon = daemon();
        let long = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 9_000]].concat();
        for (request, status) in [
            (&b"GET /nothing HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /../metrics HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),
            (&long, "431"),
            (b"HEAD /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
        ] {
            let answer = ask(request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{status}: {answer:?}"
            );
        }
        assert!(ask(b"HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    });
}

#[test]
fn slow_and_silent_clients_keep_nobody_out_for_long() {
    in_namespace(|| {
        let daemon = daemon();
        let start = Instant::now();
        let mut slow: Vec<_> = (0..12).map(|_| TcpStream::connect(ADDRESS).unwrap()).collect();
        for stream in &mut slow {
            stream.write_all(b"GET /metr").unwrap();
        }
        // The twelve take four places in three rounds of five seconds; then it is our turn.
        let answer = get("/healthz");
        assert!(answer.ends_with("ok\n"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
        // One that asks and never reads.
        let stream = TcpStream::connect(ADDRESS).unwrap();
        (&stream).write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Read).unwrap();
        assert!(get("/healthz").ends_with("ok\n"));
        assert!(daemon.stop().1.success());
    });
}

#[test]
fn the_dashboard_shows_only_metrics_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/grafana-dashboard.json");
    let text = std::fs::read_to_string(path).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    let daemon = DaemonCounters::default();
    let snapshot = Snapshot {
        version: "",
        backend: "",
        started: 0,
        packets: Counters::default(),
        daemon: &daemon,
        interfaces: &[],
    };
    let served = exposition(&snapshot);
    let served: BTreeSet<&str> = served
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# HELP ")
                .unwrap_or(line)
                .split(['{', ' '])
                .next()
        })
        .collect();
    let mut shown = BTreeSet::new();
    for panel in read["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            shown.extend(
                words
                    .filter(|word| word.starts_with("btblocker_"))
                    .map(str::to_owned),
            );
        }
    }
    for name in &shown {
        assert!(served.contains(name.as_str()), "{name} is not served");
    }
    assert!(shown.len() > 10, "{shown:?}");
}
