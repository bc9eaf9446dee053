//! Malformed input of every kind gives a clear message and a proper exit status, and never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Exit status for wrong usage and configuration.
const USAGE: i32 = 2;
/// Exit status for everything else that failed.
const FAILED: i32 = 1;

fn run(arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btblocker"));
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        // A daemon that a service manager has started waits for a missing interface.
        .env_remove("NOTIFY_SOCKET");
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

/// Runs the program and checks its exit status and that its message has all `parts`.
fn check(
    name: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    folder: &Path,
    status: i32,
    parts: &[&str],
) {
    let output = run(arguments, variables, folder);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{name}: {message}");
    assert!(!message.contains("panicked"), "{name}: {message}");
    for part in parts {
        assert!(
            message.contains(part),
            "{name}: {message:?} does not say {part:?}"
        );
    }
}

/// A classic pcap file: little-endian header of the link type, then records of (captured, wire, bytes).
fn pcap(link: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
        file.extend(word.to_le_bytes());
    }
    for (captured, wire, bytes) in records {
        for word in [1_790_000_000, 0, *captured, *wire] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*bytes);
    }
    file
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn wrong_captures_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let frame = [0_u8; 60];
    write(&folder, "empty.pcap", b"");
    write(
        &folder,
        "text.pcap",
        b"This is no capture but a text of some length, long enough for a header.\n",
    );
    write(&folder, "short.pcap", &pcap(1, &[])[..10]);
    write(
        &folder,
        "cut.pcap",
        &pcap(1, &[(60, 60, &frame), (60, 60, &frame[..20])]),
    );
    write(&folder, "absurd.pcap", &pcap(1, &[(0xffff_fff0, 60, &frame)]));
    write(
        &folder,
        "torn.pcapng",
        &[0x0a, 0x0d, 0x0d, 0x0a, 0x1c, 0, 0, 0, 0x4d, 0x3c],
    );
    fs::create_dir(folder.path().join("folder.pcap")).unwrap();
    for (name, parts) in [
        ("missing.pcap", &["missing.pcap", "No such file"][..]),
        ("empty.pcap", &["empty.pcap", "empty"]),
        ("text.pcap", &["text.pcap", "pcap"]),
        ("short.pcap", &["short.pcap"]),
        ("cut.pcap", &["cut.pcap", "cut behind frame 1"]),
        ("absurd.pcap", &["absurd.pcap"]),
        ("torn.pcapng", &["torn.pcapng"]),
        ("folder.pcap", &["folder.pcap", "directory"]),
    ] {
        check(name, &["replay", name], &[], folder.path(), FAILED, parts);
    }
}

#[test]
fn frames_that_cannot_be_read_are_counted_and_skipped() {
    let folder = TempDir::new().unwrap();
    write(&folder, "link.pcap", &pcap(147, &[(4, 4, &[1, 2, 3, 4])]));
    write(
        &folder,
        "runt.pcap",
        &pcap(1, &[(3, 60, &[1, 2, 3]), (0, 0, &[])]),
    );
    let mut lying = vec![0_u8; 12];
    lying.extend([
        0x08, 0x00, 0x4f, 0, 0xff, 0xff, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
    ]);
    write(&folder, "lying.pcap", &pcap(1, &[(34, 34, &lying)]));
    for (name, frames) in [("link.pcap", 1), ("runt.pcap", 2), ("lying.pcap", 1)] {
        let output = run(&["replay", "--format", "json", name], &[], folder.path());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let skipped: u64 = summary["skipped"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|n| n.as_u64())
            .sum();
        assert_eq!(
            (summary["frames"].as_u64(), skipped),
            (Some(frames), frames),
            "{name}: {text}"
        );
    }
}

#[test]
fn good_files_are_judged_although_another_is_wrong() {
    let folder = TempDir::new().unwrap();
    write(&folder, "good.pcap", &pcap(1, &[]));
    write(&folder, "text.pcap", b"no capture");
    let output = run(
        &["replay", "--format", "json", "text.pcap", "good.pcap"],
        &[],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(FAILED));
    assert!(String::from_utf8_lossy(&output.stdout).contains("good.pcap"));
}

/// Found by fuzzing.
#[test]
fn files_that_are_no_captures_keep_no_descriptors() {
    let folder = TempDir::new().unwrap();
    for number in 0..200 {
        fs::write(
            folder.path().join(format!("{number}.pcap")),
            "a shopping list, and a long one",
        )
        .unwrap();
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" replay ."])
        .arg(env!("CARGO_BIN_EXE_btblocker"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(FAILED), "{message}");
    assert_eq!(
        message.matches("is not a pcap or pcapng file").count(),
        200,
        "{message}"
    );
}

/// Found by fuzzing.
#[test]
fn files_that_are_no_captures_keep_no_memory() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), "a shopping list, and a long one").unwrap();
    let output = run(&[&["replay"][..], &["a"; 20_000]].concat(), &[], folder.path());
    assert_eq!(output.status.code(), Some(FAILED));
    // SAFETY: the pointer is to a live value that any bytes make valid.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used), 0);
        used
    };
    let mib = used.ru_maxrss / 1_024;
    assert!(mib < 60, "{mib} MiB");
}

#[test]
fn wrong_configuration_names_value_source_and_limit() {
    let folder = TempDir::new().unwrap();
    for (file, text) in [
        ("key.toml", "ban_tarket = \"auto\"\n"),
        ("type.toml", "\nworkers = \"many\"\n"),
        ("switch.toml", "early_exit = \"maybe\"\n"),
        ("range.toml", "ban_duration = 2147484\n"),
        ("syntax.toml", "interface = [\"eth0\"\n"),
        ("network.toml", "allow = [\"10.0.0.0/40\"]\n"),
    ] {
        write(&folder, file, text.as_bytes());
    }
    fs::write(folder.path().join("binary.toml"), [0xff, 0xfe, 0, 1]).unwrap();
    for (name, parts) in [
        (
            "key.toml",
            &["ban_tarket", "unknown key", "ban_target", "key.toml:1"][..],
        ),
        ("type.toml", &["workers", "many", "type.toml:2"]),
        ("switch.toml", &["early_exit", "maybe", "switch.toml:1"]),
        (
            "range.toml",
            &["ban_duration", "2147484s", "2147483s", "range.toml:1"],
        ),
        ("syntax.toml", &["syntax.toml"]),
        ("network.toml", &["10.0.0.0/40", "network.toml:1"]),
        ("binary.toml", &["binary.toml", "cannot be read", "UTF-8"]),
        ("none.toml", &["none.toml", "does not exist"]),
        (
            "key.toml/inside",
            &["key.toml/inside", "cannot be read", "Not a directory"],
        ),
        (".", &["configuration file .", "cannot be read", "Is a directory"]),
    ] {
        check(
            name,
            &["config", "--config", name],
            &[],
            folder.path(),
            USAGE,
            parts,
        );
    }
    let variable = [("BTBLOCKER_SNAPLEN", "17")];
    check(
        "variable",
        &["config"],
        &variable,
        folder.path(),
        USAGE,
        &["BTBLOCKER_SNAPLEN", "17", "256 to 65535"],
    );
    let unknown = [("BTBLOCKER_NONSENSE", "1")];
    check(
        "unknown variable",
        &["config"],
        &unknown,
        folder.path(),
        USAGE,
        &["BTBLOCKER_NONSENSE"],
    );
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let folder = TempDir::new().unwrap();
    for (arguments, parts) in [
        (&["--interfase", "eth0"][..], &["--interfase"][..]),
        (&["explode"], &["explode"]),
        (&["replay"], &["FILE"]),
        (&["unban"], &["ADDRESS"]),
        (&["unban", "10.0.0.300"], &["10.0.0.300"]),
        (&["ban", "nobody"], &["nobody"]),
        (
            &["config", "--ban-duration", "soon"],
            &["--ban-duration", "soon", "30m"],
        ),
        (&["config", "--backend", "pf"], &["--backend", "pf", "nftables"]),
        (&["config", "--early-exit=maybe"], &["--early-exit", "maybe"]),
        (&["config", "--workers", "9999"], &["workers", "9999", "0 to 256"]),
    ] {
        check(&arguments.join(" "), arguments, &[], folder.path(), USAGE, parts);
    }
}

#[test]
fn unknown_interfaces_are_named() {
    let folder = TempDir::new().unwrap();
    let arguments = ["--interface", "nonexistent0", "--monitor-only"];
    check(
        "unknown interface",
        &arguments,
        &[],
        folder.path(),
        FAILED,
        &["nonexistent0"],
    );
}

#[test]
fn missing_privileges_are_named() {
    // Root drops to nobody for this program only; anybody else has no privileges to begin with.
    let program = env!("CARGO_BIN_EXE_btblocker");
    let folder = TempDir::new_in("/tmp").unwrap();
    let copy = folder.path().join("btblocker");
    fs::copy(program, &copy).unwrap();
    for path in [folder.path(), &copy] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for (name, arguments, parts) in [
        (
            "capture",
            &["--interface", "lo", "--monitor-only"][..],
            &["lo", "CAP_NET_RAW"][..],
        ),
        (
            "set",
            &["setup", "--backend", "nftables"],
            &["nftables", "CAP_NET_ADMIN"],
        ),
    ] {
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--clear-groups",
                "--bounding-set",
                "-all",
                "--",
            ])
            .arg(&copy)
            .args(arguments)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(FAILED), "{name}: {message}");
        for part in parts {
            assert!(
                message.contains(part),
                "{name}: {message:?} does not say {part:?}"
            );
        }
    }
}
