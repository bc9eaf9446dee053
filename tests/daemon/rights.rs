//! What the daemon may still do once it runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::namespace::{in_namespace, ip, veth};
use crate::program::{Daemon, Lab, mount, own_mounts, wait_for};

const CASE: &str = "bt-libtorrent-v4";
/// The user where no account `btblocker` exists; on a machine with that account, it is named to the daemon.
const USER: &str = "65533";

/// Every thread has these rights: user, capabilities as the kernel writes them, no new privileges, filter.
#[track_caller]
fn check(daemon: &Daemon, expected: [&str; 4]) {
    let fields = ["Uid", "CapPrm", "NoNewPrivs", "Seccomp"];
    for (name, expected) in fields.into_iter().zip(expected) {
        let found = daemon.fields(name);
        assert!(
            found.len() > 3 && found.iter().all(|value| value == expected),
            "{name}: {found:?}"
        );
    }
    assert_eq!(daemon.fields("CapEff"), daemon.fields("CapPrm"));
}

/// Version of Landlock that can be used here; 0 where the kernel or a container's filter lets nobody.
fn landlock() -> i64 {
    const VERSION: usize = 1;
    // SAFETY: asked for its version, the call takes no pointer (landlock_create_ruleset(2)).
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, VERSION) }.max(0)
}

/// A field of the calling thread's status.
fn own(name: &str) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn four(user: &str) -> String {
    [user; 4].join(" ")
}

#[test]
fn root_becomes_a_user_and_everything_goes_on() {
    for (backend, bits) in [
        ("ipset", "0000000000003000"),
        ("nftables", "0000000000003000"),
        ("dry-run", "0000000000002000"),
    ] {
        in_namespace(move || {
            let lab = Lab::with_mode(backend, 0o755);
            let log = lab.path("log");
            fs::create_dir(&log).unwrap();
            fs::set_permissions(&log, fs::Permissions::from_mode(0o777)).unwrap();
            let detections = log.join("detections");
            let daemon = lab.start(&[
                "--user",
                USER,
                "--workers=2",
                "--detection-log",
                detections.to_str().unwrap(),
            ]);
            check(&daemon, [&four(USER), bits, "1", "2"]);
            assert!(daemon.fields("Groups").iter().all(|groups| groups == USER));

            // Capture, kernel sets, files and the socket.
            lab.replay(CASE);
            daemon.wait_line(": banned ");
            assert!(!lab.bans().is_empty());
            if backend != "dry-run" {
                wait_for("the bans are remembered", || lab.state_file().exists());
                for path in [lab.path("state"), lab.state_file(), lab.path("run/control.sock")] {
                    assert_eq!(fs::metadata(&path).unwrap().uid().to_string(), USER, "{path:?}");
                }
            }
            wait_for("the detection is written", || detections.exists());
            fs::rename(&detections, log.join("moved")).unwrap();
            daemon.hang_up();
            daemon.wait_line("configuration read again");
            lab.say(&["unban", "--all"]);

            // An interface that comes back is opened anew, which takes CAP_NET_RAW.
            ip("link del bt0");
            daemon.wait_line("not capturing");
            veth("bt0", "bt1");
            wait_for("it captures again", || daemon.lines("capturing on bt0") == 2);
            lab.replay("bt-transmission-v4");
            wait_for("the detection log is made anew", || detections.exists());
            daemon.terminate();
        });
    }
}

#[test]
fn what_the_user_does_not_reach_keeps_root_without_its_rights() {
    in_namespace(|| {
        let lab = Lab::with_mode("nftables", 0o700);
        let daemon = lab.start(&["--user=auto"]);
        let why = daemon.wait_line("stays root instead of");
        assert!(
            why.contains("WARN") && why.contains(lab.path("").to_str().unwrap().trim_end_matches('/')),
            "{why}"
        );
        // CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_NET_RAW.
        check(&daemon, [&four("0"), "0000000000003002", "1", "2"]);
        daemon.terminate();
        let refused = lab.run(&["--user", USER]);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(
            error.contains("cannot become user 65533") && error.contains("cannot be written"),
            "{error}"
        );
    });
}

#[test]
fn root_is_kept_when_that_is_asked_for() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&["--user=root", "--sandbox=false"]);
        let rights = own("CapEff");
        // In a container both may be set already.
        check(
            &daemon,
            [&four("0"), &rights, &own("NoNewPrivs"), &own("Seccomp")],
        );
        daemon.wait_line("not confined (sandbox = false)");
        let daemon = {
            drop(daemon);
            lab.start(&["--user=root"])
        };
        check(&daemon, [&four("0"), &rights, "1", "2"]);
    });
}

#[test]
fn files_outside_are_refused_even_to_root() {
    in_namespace(|| {
        let (lab, outside) = (Lab::with_mode("dry-run", 0o700), tempfile::tempdir().unwrap());
        // The link is in the daemon's folder, what it leads to is not.
        let (link, target) = (lab.path("detections"), outside.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for (sandbox, written) in [("--sandbox=true", landlock() == 0), ("--sandbox=false", true)] {
            let daemon = lab.start(&["--detection-log", link.to_str().unwrap(), sandbox]);
            lab.replay(CASE);
            if written {
                wait_for("it is written", || target.exists());
            } else {
                let line = daemon.wait_line("detections cannot be written");
                assert!(line.contains("Permission denied"), "{line}");
            }
            assert_eq!(target.exists(), written);
            daemon.terminate();
            let _ = fs::remove_file(&target);
        }
    });
}

#[test]
fn programs_are_run_without_capabilities() {
    // Started by root; and as a service manager starts it, with capabilities that are passed on (`capabilities(7)`,
    // ambient set).
    const SERVICE: &[&str] = &[
        "setpriv",
        "--securebits=+noroot",
        "--inh-caps=-all,+net_raw,+net_admin",
        "--ambient-caps=-all,+net_raw,+net_admin",
        "--bounding-set=-all,+net_raw,+net_admin",
    ];
    for launcher in [&[], SERVICE] {
        in_namespace(move || {
            let lab = Lab::with_mode("nftables", 0o777);
            let (script, said) = (lab.path("tell"), lab.path("said"));
            fs::write(
                &script,
                format!("#!/bin/sh\ngrep -E '^(Cap|NoNew)' /proc/self/status >{said:?}\n"),
            )
            .unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            let daemon = lab.start_under(launcher, &["--on-ban", script.to_str().unwrap()]);
            daemon.wait_line("for the sake of the programs");
            assert!(
                daemon
                    .fields("CapEff")
                    .iter()
                    .all(|held| held == "0000000000003000")
            );
            lab.say(&["ban", "198.51.100.9"]);
            let text = || fs::read_to_string(&said).unwrap_or_default();
            wait_for("the program has run", || text().contains("NoNewPrivs"));
            let text = text();
            for line in [
                "CapPrm:\t0000000000000000",
                "CapEff:\t0000000000000000",
                "CapAmb:\t0000000000000000",
                "NoNewPrivs:\t1",
            ] {
                assert!(text.contains(line), "{launcher:?}: {text}");
            }
            daemon.terminate();
        });
    }
}

#[test]
fn the_check_shows_the_rights() {
    in_namespace(|| {
        let lab = Lab::with_mode("nftables", 0o755);
        let daemon = lab.start(&["--user", USER]);
        let said = lab.say(&["check"]);
        let line = said
            .lines()
            .find(|line| line.contains("the daemon has user"))
            .unwrap();
        let (level, files) = match landlock() {
            0 => (
                "info",
                "not confined: its files are not confined, or only in part; its log says why",
            ),
            1..6 => ("info", "confined as far as this kernel can"),
            _ => ("ok", "confined"),
        };
        let rights = "the daemon has user 65533, CAP_NET_ADMIN, CAP_NET_RAW; system calls: only the daemon's own; files: ";
        assert!(line.starts_with(&format!("{level:<5} {rights}{files}")), "{line}");
        daemon.terminate();
    });
}

#[test]
fn a_daemon_with_few_rights_in_a_namespace_of_its_own_is_found_by_root() {
    // As a unit with NetworkNamespacePath= starts it: others' processes are not to be seen.
    const UNIT: &[&str] = &[
        "setpriv",
        "--reuid=65533",
        "--regid=65533",
        "--clear-groups",
        "--inh-caps=-all,+net_raw,+net_admin",
        "--ambient-caps=-all,+net_raw,+net_admin",
    ];
    in_namespace(|| {
        own_mounts();
        mount("-t tmpfs none /run");
        mount("-t proc -o hidepid=invisible proc /proc");
        let folder = "/run/btblocker";
        fs::create_dir(folder).unwrap();
        std::os::unix::fs::chown(folder, Some(65_533), Some(65_533)).unwrap();
        let mut lab = Lab::with_mode("nftables", 0o777);
        let socket = ("BTBLOCKER_CONTROL_SOCKET", format!("{folder}/control.sock"));
        lab.variables.push(socket);
        let daemon = lab.start_under(UNIT, &[]);
        assert_eq!(daemon.fields("Uid").first(), Some(&four(USER)));
        let status: serde_json::Value =
            serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap();
        assert_eq!(status["user"], "user 65533", "{status}");
        let second = lab.run(&[]);
        let error = String::from_utf8_lossy(&second.stderr);
        assert!(error.contains("another btblocker is running"), "{error}");
        // Another namespace has a daemon of its own beside it.
        std::thread::scope(|scope| {
            let elsewhere = || {
                // SAFETY: unshare takes no pointer; only this thread changes its namespace.
                assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
                let gone = lab.run(&["status"]);
                let error = String::from_utf8_lossy(&gone.stderr);
                assert!(error.contains("no btblocker answers on"), "{error}");
            };
            scope.spawn(elsewhere).join().unwrap();
        });
        daemon.terminate();
    });
}

#[test]
fn a_token_that_only_root_reads_does_not_keep_root() {
    in_namespace(|| {
        let lab = Lab::with_mode("nftables", 0o755);
        let secret = tempfile::tempdir().unwrap();
        let token = secret.path().join("token");
        fs::write(&token, "correct-horse-battery-staple").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let daemon = lab.start(&[
            "--user",
            USER,
            "--metrics-listen=127.0.0.1:9475",
            "--web-token-file",
            token.to_str().unwrap(),
        ]);
        check(&daemon, [&four(USER), "0000000000003000", "1", "2"]);
        lab.say(&["ban", "198.51.100.9"]);
        daemon.hang_up();
        daemon.wait_line("configuration read again");
        let mut page = TcpStream::connect("127.0.0.1:9475").unwrap();
        page.write_all(
            b"POST /unban?address=198.51.100.9 HTTP/1.1\r\nHost: localhost\r\n\
              Authorization: Bearer correct-horse-battery-staple\r\n\r\n",
        )
        .unwrap();
        let mut answer = String::new();
        page.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("198.51.100.9 unbanned"), "{answer}");
        daemon.terminate();
    });
}
