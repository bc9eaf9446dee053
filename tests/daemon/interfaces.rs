//! Interfaces that come and go.

use serde_json::Value;

use crate::namespace::{in_namespace, ip, veth};
use crate::program::{Lab, wait_for};

#[test]
fn one_that_is_missing_beside_others_is_waited_for_and_a_lone_one_is_an_error() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let alone = lab.run(&["--interface", "later"]);
        assert_eq!(alone.status.code(), Some(1));
        let error = String::from_utf8_lossy(&alone.stderr);
        assert!(error.contains("later"), "{error}");

        let daemon = lab.start(&["--interface", "bt0,later"]);
        daemon.wait_line("later: not capturing: ");
        let state = || -> Value {
            let status: Value = serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap();
            status["interfaces"][1]["state"].clone()
        };
        assert!(state().as_str().unwrap().starts_with("waiting: "), "{}", state());
        // Whoever is watched already is banned meanwhile.
        lab.replay("bt-libtorrent-v4");
        daemon.wait_line("bt0: banned 10.77.1.11: ");

        lab.say(&["unban", "10.77.1.11"]);
        ip("link del bt0");
        veth("later", "bt1");
        daemon.wait_line("later: capturing on later");
        wait_for("it is captured", || state() == "running");
        lab.replay("bt-libtorrent-v4");
        wait_for("what comes there is judged", || {
            daemon.lines(": banned 10.77.1.11: ") == 2
        });
    });
}
