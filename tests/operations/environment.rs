//! Environment variables of the predecessor.

use std::process::Command;

/// Standard output and standard error of `btblocker config` with these variables.
fn config(variables: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .arg("config")
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn each_variable_sets_its_key() {
    for (name, value, line) in [
        ("INTERFACE", "eth7, wg7", r#"interface = ["eth7","wg7"]"#),
        ("LOG_LEVEL", "debug", r#"log_level = "debug""#),
        ("BAN_DURATION", "7200", r#"ban_duration = "2h""#),
        ("DETECTION_LOG", "/tmp/d.log", r#"detection_log = "/tmp/d.log""#),
        ("MONITOR_ONLY", "1", "monitor_only = true"),
        ("MONITOR_ONLY", "true", "monitor_only = true"),
        ("BLOCK_SOCKS", "1", "block_socks = true"),
        ("XDP_MODE", "native", r#"xdp_mode = "native""#),
        ("ENTROPY_THRESHOLD", "6.25", "entropy_threshold = 6.25"),
        ("MIN_PAYLOAD_SIZE", "99", "min_payload_size = 99"),
        ("IPSET_NAME", "seeders", r#"set_name = "seeders""#),
        ("CLEANUP_INTERVAL", "60", r#"cleanup_interval = "1m""#),
        ("XDP_CLEANUP_INTERVAL", "90", r#"cleanup_interval = "90s""#),
        ("WHITELIST_PORTS", "22,443", r#"exempt_ports = ["22","443"]"#),
        ("WHITELIST_PORTS", "22", r#"exempt_ports = ["22"]"#),
    ] {
        let (out, err, status) = config(&[(name, value)]);
        assert_eq!(status, Some(0), "{name}: {err}");
        let wanted = format!("{line}  # variable {name}");
        assert!(
            out.lines().any(|found| found == wanted),
            "{wanted} is not in {out}"
        );
    }
}

#[test]
fn prefixed_variables_win_and_empty_ones_are_absent() {
    let (out, _, _) = config(&[
        ("BAN_DURATION", "100"),
        ("BTBLOCKER_BAN_DURATION", "200"),
        ("INTERFACE", ""),
    ]);
    assert!(
        out.contains(r#"ban_duration = "200s"  # variable BTBLOCKER_BAN_DURATION"#),
        "{out}"
    );
    assert!(out.contains(r#"interface = ["auto"]  # default"#), "{out}");
}

#[test]
fn variables_without_effect_are_named() {
    for (name, value, why) in [
        ("QUEUE_NUM", "0", "watched, not queued"),
        ("ENTROPY_THRESHOLD", "7.6", "6.585"),
    ] {
        let (out, err, status) = config(&[(name, value)]);
        assert_eq!(status, Some(0), "{name}: {err}");
        assert!(
            err.contains(&format!("variable {name}")) && err.contains(why),
            "{name}: {err}"
        );
        assert!(!out.contains(&format!("variable {name}")), "{out}");
    }
}

#[test]
fn wrong_values_name_the_variable() {
    for (name, value, part) in [
        ("BAN_DURATION", "soon", "soon"),
        ("BAN_DURATION", "0", "1s to"),
        ("LOG_LEVEL", "loud", "loud"),
        ("XDP_MODE", "fast", "fast"),
        ("XDP_CLEANUP_INTERVAL", "never", "never"),
        ("MIN_PAYLOAD_SIZE", "many", "many"),
        ("WHITELIST_PORTS", "22,ssh", "ssh"),
    ] {
        let (_, err, status) = config(&[(name, value)]);
        assert_eq!(status, Some(2), "{name}");
        assert!(
            err.contains(&format!("variable {name}")) && err.contains(part),
            "{name}: {err}"
        );
    }
}
