//! `btblocker check`.

use serde_json::Value;

use crate::namespace::{in_namespace, ip};
use crate::program::{Lab, sh, wait_for};

fn findings(lab: &Lab, words: &[&str]) -> (Option<i32>, Vec<Value>) {
    let all: Vec<&str> = ["check", "--format", "json"]
        .iter()
        .chain(words)
        .copied()
        .collect();
    let output = lab.run(&all);
    let text = String::from_utf8(output.stdout).unwrap();
    let findings = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (output.status.code(), findings)
}

fn find<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found = findings
        .iter()
        .find(|finding| finding["what"].as_str().unwrap().contains(what));
    found.unwrap_or_else(|| panic!("no finding {what:?} in {findings:#?}"))
}

fn check_proof(backend: &'static str) {
    in_namespace(move || {
        let lab = Lab::new(backend);
        let (code, before) = findings(&lab, &[]);
        assert_eq!(code, Some(0), "{before:#?}");
        let proof = find(&before, "a ban drops packets");
        assert_eq!(proof["level"], "ok", "{proof}");
        assert!(
            proof["what"].as_str().unwrap().contains("127.0.0.2 and ::1"),
            "{proof}"
        );
        let sets = find(&before, "drop rules");
        assert!(
            sets["advice"].as_str().unwrap().contains("the daemon makes them"),
            "{sets}"
        );
        let (code, strict) = findings(&lab, &["--no-setup"]);
        assert_eq!(
            (code, &find(&strict, "drop rules")["level"]),
            (Some(1), &Value::from("fail"))
        );
        sh("nft 'add table ip early; add chain ip early f { type filter hook forward priority -200; }'");
        let daemon = lab.start(&[]);
        wait_for("the state is written", || lab.state_file().exists());
        let (code, after) = findings(&lab, &[]);
        assert_eq!(code, Some(0));
        assert_eq!(find(&after, "drop rules")["level"], "ok");
        assert!(
            find(&after, "control socket")["what"]
                .as_str()
                .unwrap()
                .contains("a daemon answers (pid ")
        );
        assert_eq!(find(&after, "state folder")["level"], "ok");
        let order = after
            .iter()
            .filter(|finding| finding.to_string().contains("early f (-200)"))
            .count();
        assert!(order >= 1, "{after:#?}");
        daemon.terminate();
    });
}

#[test]
fn a_ban_is_proven_in_ipset() {
    check_proof("ipset");
}

#[test]
fn a_ban_is_proven_in_nftables() {
    check_proof("nftables");
}

#[cfg(feature = "xdp")]
#[test]
fn a_ban_is_proven_in_xdp_whatever_the_mode() {
    for (mode, level, said) in [
        ("auto", "ok", "its driver runs programs itself"),
        ("native", "ok", "its driver runs programs itself"),
        ("generic", "info", "XDP on bt0"),
    ] {
        in_namespace(move || {
            let lab = Lab::new("xdp");
            let (code, found) = findings(&lab, &["--xdp-pin", "off", "--xdp-mode", mode]);
            assert_eq!(code, Some(0), "{mode}: {found:#?}");
            let proof = find(&found, "xdp: a ban drops packets");
            assert_eq!(proof["level"], "ok", "{mode}: {proof}");
            assert!(
                proof["what"].as_str().unwrap().contains("127.0.0.2 and ::1"),
                "{proof}"
            );
            assert_eq!(find(&found, said)["level"], level, "{mode}");
        });
    }
}

#[cfg(feature = "xdp")]
#[test]
fn what_interfaces_do_with_xdp_is_said() {
    in_namespace(|| {
        let lab = Lab::new("xdp");
        ip("tuntap add dev bt9 mode tun");
        ip("link set bt9 up");
        let asked = |mode| {
            let words = ["--interface", "bt0,bt9", "--xdp-pin", "off", "--xdp-mode", mode];
            let (code, found) = findings(&lab, &words);
            (code, find(&found, "XDP on bt9").clone())
        };
        for (mode, code, level) in [("native", 1, "fail"), ("auto", 0, "warn"), ("generic", 0, "ok")] {
            let (status, finding) = asked(mode);
            assert_eq!(
                (status, &finding["level"]),
                (Some(code), &Value::from(level)),
                "{mode}: {finding}"
            );
        }
        let _daemon = lab.start(&["--xdp-pin", "off", "--xdp-mode", "native"]);
        let (_, found) = findings(&lab, &["--xdp-pin", "off"]);
        find(
            &found,
            "XDP on bt0: btblocker's program is attached (in the driver)",
        );
    });
}

/// `CAP_SYS_ADMIN` holds `CAP_BPF`.
#[cfg(feature = "xdp")]
#[test]
fn xdp_is_not_available_without_its_capability() {
    in_namespace(|| {
        let lab = Lab::new("xdp");
        let output = lab
            .command_under(
                &[
                    "setpriv",
                    "--bounding-set=-bpf,-sys_admin",
                    "--inh-caps=-bpf,-sys_admin",
                ],
                &["check", "--xdp-pin", "off"],
            )
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("ok    backend nftables is available"), "{text}");
        let line = text.lines().find(|line| line.contains("backend xdp"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(
            line.starts_with("fail  backend xdp: ") && line.contains("CAP_BPF"),
            "{line}"
        );
    });
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        ip("link set bt0 down");
        let (code, found) = findings(&lab, &["--interface", "bt0,nope,auto"]);
        assert_eq!(code, Some(1));
        for (what, level, advice) in [
            ("interface bt0", "warn", "ip link set bt0 up"),
            ("interface nope", "fail", "there are lo, "),
            ("interface auto", "fail", "there is no default route"),
            ("control socket", "info", "no daemon is running"),
        ] {
            let finding = find(&found, what);
            assert_eq!(finding["level"], level, "{finding}");
            assert!(finding["advice"].as_str().unwrap().contains(advice), "{finding}");
        }
        let (_, paper) = findings(&lab, &["--backend", "dry-run"]);
        assert_eq!(find(&paper, "a ban drops packets")["level"], "info");
    });
}

#[cfg(feature = "xdp")]
#[test]
fn pins_of_a_backend_that_is_not_chosen_are_no_trouble() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let pin = ["--xdp-pin", "/nonexistent"];
        let (_, found) = findings(&lab, &pin);
        assert_eq!(find(&found, "backend xdp")["level"], "ok");
        let (_, found) = findings(&lab, &[&pin[..], &["--backend", "xdp"]].concat());
        assert_eq!(find(&found, "backend xdp")["level"], "fail");
    });
}

#[test]
fn without_capabilities_it_is_said() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let output = std::process::Command::new("setpriv")
            .args([
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--reuid=65534",
                "--clear-groups",
            ])
            .arg(env!("CARGO_BIN_EXE_btblocker"))
            .args([
                "check",
                "--interface",
                "bt0",
                "--state-dir",
                "",
                "--control-socket",
                "",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}{:?}", output.stderr);
        assert!(
            text.contains("fail  CAP_NET_RAW for capture: missing; run as root"),
            "{text}"
        );
        assert!(text.contains("not proven"), "{text}");
        drop(lab);
    });
}
