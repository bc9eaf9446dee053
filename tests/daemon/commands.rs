//! Commands to a running daemon.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use btblocker::control::{Request, ask};
use serde_json::Value;

use crate::namespace::{in_namespace, ip};
use crate::neighbour::Neighbour;
use crate::program::{Lab, eventually, replay, sh, wait_for};

const CASE: &str = "bt-libtorrent-v4";

#[test]
fn bans_are_made_listed_lifted_and_allowed() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&["--allow", "203.0.113.0/24"]);
        let said = lab.say(&["ban", "198.51.100.9", "2001:db8::/64", "--for", "10m"]);
        assert_eq!(
            said,
            "198.51.100.9 banned for 600 s\n2001:db8::/64 banned for 600 s\n"
        );
        let refused = lab.run(&["ban", "203.0.113.7"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is never banned (allowed)"));
        let table = lab.say(&["bans"]);
        assert!(table.lines().count() == 3 && table.contains("by-hand"), "{table}");
        let ban = lab.bans().remove(0);
        assert_eq!(
            (&ban["address"], &ban["flows"]),
            (&Value::from("198.51.100.9"), &Value::from(0))
        );
        assert!(
            ban["remaining_seconds"].as_u64().unwrap() > 590 && ban["since"].as_str().unwrap().ends_with('Z')
        );

        assert_eq!(lab.say(&["unban", "198.51.100.9"]), "198.51.100.9 unbanned\n");
        assert_eq!(
            lab.say(&["unban", "198.51.100.9"]),
            "198.51.100.9 was not banned\n"
        );
        let said = lab.say(&["allow", "2001:db8::1"]);
        assert!(
            said.contains("until btblocker ends") && said.contains("(1 ban lifted)"),
            "{said}"
        );
        assert_eq!(lab.bans().len(), 0);
        lab.say(&["ban", "198.51.100.0/24"]);
        assert_eq!(lab.say(&["unban", "198.51.100.9"]), "198.51.100.0/24 unbanned\n");
        // As a socket of both families shows it.
        let said = lab.say(&["ban", "::ffff:198.51.100.9", "--for", "10m"]);
        assert_eq!(said, "198.51.100.9 banned for 600 s\n");
        lab.say(&["ban", "198.51.100.0/24", "198.51.0.0/16"]);
        assert_eq!(
            lab.say(&["unban", "::ffff:198.51.100.9"]),
            "198.51.100.9 unbanned, but still banned with 198.51.100.0/24\n"
        );
        assert_eq!(
            lab.say(&["unban", "198.51.100.0/25", "198.51.100.0/24", "198.51.0.0/16"]),
            "198.51.100.0/25 was not banned by itself, but is with 198.51.100.0/24\n\
             198.51.100.0/24 unbanned, but still banned with 198.51.0.0/16\n\
             198.51.0.0/16 unbanned\n"
        );

        // Who is allowed by command is not banned for traffic either.
        lab.replay(CASE);
        let first = daemon.wait_line(": banned ");
        let banned: Vec<String> = lab
            .bans()
            .iter()
            .map(|ban| ban["address"].as_str().unwrap().to_owned())
            .collect();
        assert!(!banned.is_empty(), "{first}");
        let arguments: Vec<&str> = ["allow"]
            .into_iter()
            .chain(banned.iter().map(String::as_str))
            .collect();
        lab.say(&arguments);
        let sent = lab.replay(CASE);
        let seen = || status(&lab)["counters"]["frames"].as_u64().unwrap();
        wait_for("all frames are seen", || seen() >= 2 * sent);
        assert!(
            lab.bans()
                .iter()
                .all(|ban| !banned.iter().any(|old| ban["address"] == **old))
        );

        lab.say(&["ban", "198.51.100.1", "198.51.100.2"]);
        assert!(lab.say(&["unban", "--all"]).contains("unbanned"));
        assert_eq!(lab.bans().len(), 0);
        let teardown = lab.run(&["teardown"]);
        assert!(String::from_utf8_lossy(&teardown.stderr).contains("stop it first"));
        daemon.terminate();
        assert!(!lab.path("run/control.sock").exists());
    });
}

#[test]
fn a_network_that_the_set_cannot_hold_harms_no_other_ban() {
    in_namespace(|| {
        sh("ipset create torrent_block hash:ip timeout 300
            ipset create torrent_block6 hash:ip family inet6 timeout 300");
        let lab = Lab::new("ipset");
        let daemon = lab.start(&[]);
        let networks: Vec<String> = (1..7).map(|number| format!("10.{number}.0.0/16")).collect();
        for network in &networks {
            let refused = lab.run(&["ban", network]);
            let error = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1));
            assert!(error.contains(&format!("hash:net for {network}")), "{error}");
        }
        let said = lab.say(&["ban", "198.51.100.9", "2001:db8::9", "--for", "10m"]);
        assert_eq!(
            said,
            "198.51.100.9 banned for 600 s\n2001:db8::9 banned for 600 s\n"
        );
        assert!(sh("ipset list torrent_block").contains("198.51.100.9"));
        assert_eq!(status(&lab)["waiting_bans"], networks.len());
        assert_eq!(lab.say(&["unban", "198.51.100.9"]), "198.51.100.9 unbanned\n");
        for network in &networks {
            assert_eq!(lab.say(&["unban", network]), format!("{network} unbanned\n"));
        }
        assert_eq!(status(&lab)["kernel_accepts"], true);
        assert_eq!(
            daemon.lines("trying again every 4 s"),
            1,
            "one trouble is one line"
        );
    });
}

#[test]
fn a_ban_by_hand_on_paper_is_called_so() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&["--monitor-only"]);
        let said = lab.say(&["ban", "198.51.100.9", "--for", "10m"]);
        assert_eq!(said, "198.51.100.9 banned on paper only for 600 s\n");
    });
}

#[test]
fn a_daemon_that_nobody_can_ask_is_idle() {
    in_namespace(|| {
        let lab = Lab::new("dry-run");
        let daemon = lab.start(&["--control-socket", ""]);
        let before = daemon.busy();
        let is_busy = || daemon.busy() - before > Duration::from_secs(1);
        assert_eq!(eventually(Duration::from_secs(2), is_busy), None);
        daemon.terminate();
    });
}

#[test]
fn who_logs_in_while_it_runs_is_not_banned() {
    /// The host of the recorded case.
    const CLIENT: &str = "10.77.1.11";
    in_namespace(|| {
        let lab = Lab::new("nftables");
        ip("addr add 10.77.1.22/24 dev bt0");
        ip("addr add 2001:db8::22/64 dev bt0 nodad");
        let listeners =
            ["10.77.1.22:22", "[2001:db8::22]:22"].map(|server| TcpListener::bind(server).unwrap());
        let daemon = lab.start(&[]);
        let far = Neighbour::behind("bt1");
        far.ip(&format!("addr add {CLIENT}/24 dev bt1"));
        far.ip("addr add 2001:db8::23/64 dev bt1 nodad");
        let sessions = listeners.map(|listener| {
            let session = far.connect(listener.local_addr().unwrap());
            (session, listener.accept().unwrap())
        });
        // The evidence comes before anybody has looked for sessions anew.
        far.there(|| replay(CASE, "bt1"));
        daemon.wait_line("unbanned 10.77.1.11: it is never banned any more");
        for peer in [CLIENT, "2001:db8::23"] {
            let refused = lab.run(&["ban", peer]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(
                said.contains(&format!("{peer} is never banned (ssh-peer)")),
                "{said}"
            );
        }
        lab.say(&["ban", "10.77.1.12"]);
        drop(sessions);
        wait_for("who has left can be banned", || {
            lab.run(&["ban", CLIENT]).status.success()
        });
        daemon.terminate();
    });
}

fn status(lab: &Lab) -> Value {
    serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap()
}

#[test]
fn status_says_how_the_daemon_is() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        wait_for("counters are published", || {
            status(&lab)["counters"]["frames"].as_u64() > Some(0)
        });
        let status = status(&lab);
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["backend"], "nftables");
        assert_eq!(status["interfaces"][0]["name"], "bt0");
        assert_eq!(status["interfaces"][0]["state"], "running");
        assert!(status["active_bans"].as_u64() >= Some(1) && status["bans"]["banned"].as_u64() >= Some(1));
        ip("link set bt0 down");
        daemon.wait_line("not capturing");
        assert!(lab.say(&["status"]).contains("waiting: the interface is down"));
        drop(daemon);
        let gone = lab.run(&["status"]);
        assert_eq!(gone.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&gone.stderr).contains("no btblocker answers on"));
    });
}

#[test]
fn what_does_not_reach_the_disk_is_shown() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        // A file where the folder should be.
        let taken = lab.path("taken");
        std::fs::write(&taken, "").unwrap();
        let evidence = format!("--evidence-dir={}", taken.display());
        let daemon = lab.start(&[&evidence, "--detection-log=/dev/full"]);
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        let lost = |name: &str| status(&lab)["lost"][name].as_u64().unwrap();
        wait_for("losses are counted", || {
            lost("evidence_files") > 0 && lost("detections") > 0
        });
        assert_eq!(
            (lost("payloads"), lost("evidence_packets"), lost("notices")),
            (0, 0, 0)
        );
        assert!(lab.say(&["status"]).contains("lost.evidence_files "));
        let (lines, _) = ask(&lab.path("run/control.sock"), &Request::Overview {}).unwrap();
        for place in ["evidence files: files", "detection log: detections"] {
            let losses = lines[0]["losses"].as_array().unwrap();
            let row = losses.iter().find(|row| row["place"] == place).unwrap();
            assert!(row["count"].as_u64() > Some(0), "{place}");
        }
    });
}

#[test]
fn bans_by_command_are_in_the_totals() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.1"]);
        wait_for("the ban is in force", || status(&lab)["bans"]["banned"] == 1);
        let (lines, _) = ask(&lab.path("run/control.sock"), &Request::Overview {}).unwrap();
        assert_eq!(lines[0]["totals"]["bans"], 1);
    });
}

#[test]
fn what_is_held_of_a_host_is_explained() {
    in_namespace(|| {
        const CLIENT: &str = "10.77.1.11";
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&[
            "--allow",
            "203.0.113.77",
            "--local-networks",
            "10.77.0.0/16",
            "--disable",
            "entropy",
        ]);
        for (address, said) in [
            (CLIENT, "nothing was seen of this host lately"),
            ("203.0.113.77", "it is never banned: exempt (allowed)"),
        ] {
            let told = lab.say(&["explain", address]);
            assert!(told.contains(said), "{told}");
        }
        lab.say(&["ban", "198.51.100.0/24"]);
        let told = lab.say(&["explain", "198.51.100.9"]);
        assert!(
            told.starts_with("198.51.100.9: banned\n  198.51.100.0/24 since "),
            "{told}"
        );
        // Without a second technique, one encrypted connection is strong evidence and no more.
        let explained =
            || -> Value { serde_json::from_str(&lab.say(&["explain", CLIENT, "--format", "json"])).unwrap() };
        lab.replay("bt-libtorrent-rc4-v4");
        wait_for("the connection is held", || {
            explained()["needed"].to_string().contains("so far 1 remote host")
        });
        let told = lab.say(&["explain", CLIENT]);
        for part in [
            "10.77.1.11: not banned\n",
            "bt0: ",
            "not judged BitTorrent",
            "with 3 remote hosts",
            "so far 1 remote host\n",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        lab.replay("bt-libtorrent-dht");
        wait_for("the client is banned", || explained()["state"] == "banned");
        let told = lab.say(&["explain", CLIENT]);
        for part in [
            " s left: ",
            "judged BitTorrent: conclusive by itself",
            "Since the start: ",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        assert!(!told.contains("still needs"), "{told}");
    });
}

#[test]
fn a_ban_is_told_when_the_kernel_has_taken_it_and_not_before() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        lab.say(&["setup"]);
        let daemon = lab.start(&["--no-setup"]);
        sh("nft flush ruleset");
        lab.replay(CASE);
        let line = daemon.wait_line("not banned yet: the kernel does not take the ban");
        assert!(line.contains("WARN"), "{line}");
        assert_eq!(daemon.lines(": banned "), 0);
        let before = status(&lab);
        assert_eq!(
            (&before["kernel_accepts"], &before["active_bans"]),
            (&Value::from(false), &Value::from(0))
        );
        assert_eq!(before["bans"]["banned"], 0);
        let waiting = before["waiting_bans"].as_u64().unwrap();
        assert!(waiting >= 1, "{before}");
        let refused = lab.run(&["ban", "198.51.100.9"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("but the kernel does not take it"));
        // What is lifted before the kernel knew of it was never in force.
        assert_eq!(lab.run(&["unban", "198.51.100.9"]).status.code(), Some(1));

        lab.say(&["setup"]);
        daemon.wait_line(": banned ");
        wait_for("all are told", || daemon.lines(": banned ") as u64 == waiting);
        let after = status(&lab);
        assert_eq!(
            (&after["waiting_bans"], &after["active_bans"]),
            (&Value::from(0), &Value::from(waiting))
        );
        assert_eq!(after["bans"]["banned"], waiting);
        assert_eq!(daemon.lines("unbanned"), 0);
    });
}

#[test]
fn a_ban_for_which_the_kernel_has_no_room_is_told_as_none() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        sh("nft add table inet btblocker
            nft add set inet btblocker torrent_block '{ type ipv4_addr; flags timeout; size 1; }'");
        let daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.1"]);
        let refused = lab.run(&["ban", "198.51.100.2"]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("is full (1 elements)"));
        daemon.wait_line("198.51.100.2 not banned: the kernel's set is full");
        assert_eq!(
            (
                daemon.lines("banned 198.51.100.1"),
                daemon.lines("banned 198.51.100.2")
            ),
            (1, 0)
        );
        let status = status(&lab);
        assert_eq!(
            (&status["active_bans"], &status["bans"]["kernel_full"]),
            (&Value::from(1), &Value::from(1))
        );
    });
}

#[test]
fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let mut first = lab.start(&[]);
        let other = lab.path("other.sock").display().to_string();
        let elsewhere = ["--control-socket", &other, "--set-name", "other"];
        // Whatever its sets are called, the rules would be in the same tables.
        for (words, why) in [
            (&[][..], "and bans in this network namespace"),
            (&elsewhere, "and bans in this network namespace"),
            (
                &["--backend", "nftables", "--control-socket", &other],
                "and bans in this network namespace",
            ),
            (&["--monitor-only"], "it answers on"),
        ] {
            let second = lab.run(words);
            assert_eq!(second.status.code(), Some(1));
            let error = String::from_utf8_lossy(&second.stderr);
            assert!(
                error.contains("another btblocker is running") && error.contains(why),
                "{words:?}: {error}"
            );
        }
        assert!(first.is_running());
        // One that bans nobody is no harm, neither is one in another namespace.
        lab.start(&["--monitor-only", "--control-socket", &other])
            .terminate();
        let fourth = std::thread::scope(|scope| {
            let there = || {
                // SAFETY: unshare takes no pointer; only this thread changes its namespace.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
                crate::namespace::veth("bt0", "bt1");
                lab.start(&elsewhere).terminate();
            };
            scope.spawn(there).join()
        });
        assert!(fourth.is_ok());
        lab.say(&["bans"]);
        first.kill();
        assert!(lab.path("run/control.sock").exists());
        lab.start(&[]).terminate();
    });
}

/// The name by which daemons know of each other takes no rights to hold.
#[test]
fn a_local_user_does_not_keep_the_daemon_from_starting() {
    in_namespace(|| {
        let address = SocketAddr::from_abstract_name("btblocker").unwrap();
        let held = std::thread::spawn(move || {
            // SAFETY: takes no pointer. As a bare system call it is for this thread alone.
            let code = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
            assert_eq!(code, 0);
            UnixListener::bind_addr(&address).unwrap()
        });
        let held = held.join().unwrap();
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        daemon.wait_line("user 65534 holds the socket name @btblocker");
        daemon.terminate();
        drop(held);
        let daemon = lab.start(&[]);
        assert_eq!(daemon.lines("@btblocker"), 0);
    });
}

#[test]
fn slow_clients_do_not_hold_the_daemon() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let daemon = lab.start(&[]);
        // Half a line, and lines whose answers nobody reads.
        let mut silent = UnixStream::connect(lab.path("run/control.sock")).unwrap();
        silent.write_all(b"{\"command\":").unwrap();
        let mut deaf = UnixStream::connect(lab.path("run/control.sock")).unwrap();
        deaf.set_nonblocking(true).unwrap();
        while deaf.write(b"{\"command\":\"status\"}\n").is_ok() {}
        lab.replay(CASE);
        daemon.wait_line(": banned ");
        assert_eq!(
            lab.say(&["ban", "198.51.100.9"]),
            "198.51.100.9 banned for 18000 s\n"
        );
    });
}

#[test]
fn connections_of_a_banned_host_are_forgotten() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        ip("addr add 192.0.2.1/24 dev bt0");
        sh(
            "nft 'add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c ct state new accept'",
        );
        ip("addr add 2001:db8::1/64 dev bt0 nodad");
        sh(
            "nft 'add table ip6 t; add chain ip6 t c { type filter hook output priority 0; }; add rule ip6 t c udp dport 9 ct state new accept'",
        );
        let sockets = ["192.0.2.1:0", "[2001:db8::1]:0"].map(|own| UdpSocket::bind(own).unwrap());
        for last in [9, 10] {
            for (socket, host) in sockets
                .iter()
                .zip([format!("192.0.2.{last}"), format!("2001:db8::{last}")])
            {
                ip(&format!(
                    "neigh add {host} lladdr 02:00:00:00:00:{last:02} dev bt0"
                ));
                let host: std::net::IpAddr = host.parse().unwrap();
                socket.send_to(b"x", (host, 9)).unwrap();
            }
        }
        // Who is tracked, as the kernel writes addresses there.
        let tracked = || {
            let table = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
            let hosts = [
                "192.0.2.9",
                "192.0.2.10",
                "2001:0db8:0000:0000:0000:0000:0000:0009",
                "2001:0db8:0000:0000:0000:0000:0000:0010",
            ];
            hosts.map(|host| table.contains(&format!("dst={host} ")))
        };
        assert_eq!(tracked(), [true; 4]);
        let daemon = lab.start(&[]);
        for (host, left) in [
            ("192.0.2.9", [false, true, true, true]),
            ("2001:db8::9", [false, true, false, true]),
        ] {
            lab.say(&["ban", host]);
            wait_for("the banned host's entry goes, the others' stay", || {
                tracked() == left
            });
        }
        // What begins while somebody else has taken away what drops it does not outlive that.
        let begin = || {
            let _ = sockets[0].send_to(b"x", "192.0.2.9:9");
            tracked()[0]
        };
        for deed in [
            "nft delete element inet btblocker torrent_block '{ 192.0.2.9 }' || true",
            "nft flush chain inet btblocker output || true",
            "nft delete table inet btblocker || true",
        ] {
            wait_for(deed, || {
                sh(deed);
                begin()
            });
            wait_for("the entry goes with the ban's return", || !tracked()[0]);
        }
        daemon.terminate();
        for deed in ["flush chain inet btblocker output", "delete table inet btblocker"] {
            sh(&format!("nft {deed}"));
            assert!(begin());
            let daemon = lab.start(&[]);
            wait_for("the entry goes with the next start", || !tracked()[0]);
            daemon.terminate();
        }
        assert!(tracked()[1]);
    });
}
