//! Privileges, interfaces, clock, files, and the running daemon.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Finding, chain};
use crate::backend::BackendKind;
use crate::capture::{LiveCapture, LiveOptions};
use crate::config::Config;
use crate::network::{InterfaceKind, Network};

/// `CAP_NET_ADMIN` of `linux/capability.h`.
const NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`.
const NET_RAW: u32 = 13;
/// 2025-01-01: no program of today runs before it.
const NOT_BEFORE: Duration = Duration::from_secs(1_735_689_600);

/// Whether the process has the capabilities.
pub(super) fn privileges(config: &Config, findings: &mut Vec<Finding>) {
    let held = effective_capabilities();
    let on_paper = config.holder() == BackendKind::DryRun;
    for (bit, name, needed_for) in [
        (NET_RAW, "CAP_NET_RAW", "capture"),
        (NET_ADMIN, "CAP_NET_ADMIN", "kernel sets"),
    ] {
        let what = format!("{name} for {needed_for}");
        findings.push(if held & (1 << bit) != 0 {
            Finding::ok(what)
        } else if bit == NET_ADMIN && on_paper {
            Finding::info(what, "missing, but nothing is banned in the kernel")
        } else {
            Finding::fail(
                what,
                "missing; run as root, or give the program \"setcap cap_net_raw,cap_net_admin+ep\"",
            )
        });
    }
}

/// `CapEff` of `proc_pid_status(5)`; none when it cannot be read.
fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether each interface is there, up, and can be captured on.
pub(super) fn interfaces(config: &Config, network: &Network, findings: &mut Vec<Finding>) {
    for name in &config.interface {
        if name != "auto" {
            interface(name, network, findings);
            continue;
        }
        let found = network.default_interfaces();
        if found.is_empty() {
            findings.push(Finding::fail(
                "interface auto",
                "there is no default route; name the interface with --interface",
            ));
        }
        for name in found {
            findings.push(Finding::ok(format!("interface auto is {name}")));
            interface(name, network, findings);
        }
    }
}

fn interface(name: &str, network: &Network, findings: &mut Vec<Finding>) {
    let Some(found) = network.interface(name) else {
        if name == "any" {
            capture(name, "all", findings);
            return;
        }
        let all: Vec<&str> = network
            .interfaces
            .iter()
            .map(|other| other.name.as_str())
            .collect();
        findings.push(Finding::fail(
            format!("interface {name}"),
            format!("there is none; there are {}", all.join(", ")),
        ));
        return;
    };
    let kind = match found.kind {
        InterfaceKind::Ethernet => "Ethernet",
        InterfaceKind::Loopback => "loopback",
        InterfaceKind::Ppp => "PPP",
        InterfaceKind::Other => "a layer-3 device",
    };
    if !found.up {
        findings.push(Finding::warn(
            format!("interface {name}"),
            format!("it is down; \"ip link set {name} up\" (btblocker waits for it)"),
        ));
    }
    if let Some(master) = found.master
        && let Some(master) = network.interfaces.iter().find(|other| other.index == master)
    {
        findings.push(Finding::info(
            format!("interface {name}"),
            format!(
                "it is a port of {}; watch that instead to see all its ports",
                master.name
            ),
        ));
    }
    capture(name, kind, findings);
}

fn capture(name: &str, kind: &str, findings: &mut Vec<Finding>) {
    let what = format!("capture on {name} ({kind})");
    findings.push(match LiveCapture::open(name, 0, &LiveOptions::default()) {
        Ok(_) => Finding::ok(what),
        Err(error) => Finding::fail(what, chain(error)),
    });
}

/// Whether the wall clock can be right.
pub(super) fn clock(findings: &mut Vec<Finding>) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    findings.push(if now < NOT_BEFORE {
        Finding::warn(
            "wall clock",
            "it is before 2025; set it, or bans that survive a reboot will last longer than they should",
        )
    } else {
        Finding::ok("wall clock")
    });
}

/// Whether bans can be remembered, and detections and evidence be written.
pub(super) fn folders(config: &Config, findings: &mut Vec<Finding>) {
    let state = &config.state_dir;
    if state.as_os_str().is_empty() {
        findings.push(Finding::info(
            "state folder",
            "state_dir is empty: no ban survives a reboot",
        ));
    } else {
        let others_write = std::fs::metadata(state).is_ok_and(|found| found.mode() & 0o022 != 0);
        findings.push(if others_write {
            Finding::warn(
                format!("state folder {}", state.display()),
                format!("others can write to it; \"chmod 700 {}\"", state.display()),
            )
        } else {
            written(
                "state folder",
                state,
                true,
                "bans work, but do not survive a reboot",
            )
        });
    }
    if !config.evidence_dir.as_os_str().is_empty() {
        findings.push(written(
            "evidence folder",
            &config.evidence_dir,
            true,
            "no evidence of bans is kept",
        ));
    }
    let log = &config.detection_log;
    if log.is_dir() {
        findings.push(Finding::warn(
            format!("detection log {}", log.display()),
            "it is a folder; name a file",
        ));
    } else if let Some(folder) = log.parent() {
        // A name alone lies in the working directory.
        let here = folder.as_os_str().is_empty();
        let folder = if here { Path::new(".") } else { folder };
        findings.push(written(
            "folder of the detection log",
            folder,
            false,
            "no detection is written",
        ));
    }
}

/// Whether files can be made in a folder; without it `lost`. The daemon makes some folders where they are missing.
fn written(what: &str, folder: &Path, is_made: bool, lost: &str) -> Finding {
    let what = format!("{what} {}", folder.display());
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => Finding::warn(what, format!("it is no folder; {lost}")),
        Ok(_) => match write_and_remove(folder) {
            Ok(()) => Finding::ok(what),
            Err(error) => Finding::warn(what, format!("it cannot be written: {error}; {lost}")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_made => {
            Finding::info(what, "it does not exist; the daemon makes it")
        }
        Err(error) => Finding::warn(what, format!("{error}; {lost}")),
    }
}

/// Makes a file in the folder and removes it.
fn write_and_remove(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".check-{}", std::process::id()));
    // What somebody else put there is not followed.
    std::fs::File::create_new(&path)?.write_all(b"btblocker")?;
    std::fs::remove_file(&path)
}
