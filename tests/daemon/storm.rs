//! The brake on many bans within a minute: its alarm, and its end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::namespace::in_namespace;
use crate::program::{Lab, wait_for};

const METRICS: &str = "127.0.0.1:9476";
const METRIC: &str = "btblocker_bans_refused_total{reason=\"storm\"} ";

fn status(lab: &Lab) -> Value {
    serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap()
}

/// What the metric says.
fn refused() -> u64 {
    let mut stream = TcpStream::connect(METRICS).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(METRIC));
    found.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_storm_is_an_alarm_everywhere_and_its_end_is_said() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let file = lab.path("btblocker.toml");
        fs::write(&file, "max_bans_per_minute = 1").unwrap();
        let words = [
            "--config",
            file.to_str().unwrap(),
            "--metrics-listen",
            METRICS,
            "--ban-target",
            "both",
        ];
        let daemon = lab.start(&words);
        assert_eq!((&status(&lab)["storm"], refused()), (&Value::from(false), 0));
        lab.replay("bt-libtorrent-v4");
        let line = daemon.wait_line("further hosts are only reported");
        assert!(line.contains("ERROR"), "{line}");
        let said = status(&lab);
        assert_eq!(
            (&said["storm"], &said["active_bans"]),
            (&Value::from(true), &Value::from(1)),
            "{said}"
        );
        let row = format!("{:<24} true", "storm");
        let table = lab.say(&["status"]);
        assert!(table.lines().any(|line| line == row), "{table}");
        wait_for("the metric counts", || refused() > 0);

        fs::write(&file, "max_bans_per_minute = 100").unwrap();
        daemon.hang_up();
        let line = daemon.wait_line("hosts are banned again");
        assert!(line.contains("WARN"), "{line}");
        assert_eq!(status(&lab)["storm"], false);
        lab.replay("bt-aria2-v6");
        wait_for("a host is banned", || lab.bans().len() > 1);
        assert_eq!(daemon.lines("further hosts are only reported"), 1);
    });
}
