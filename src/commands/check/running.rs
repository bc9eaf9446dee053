//! The running daemon: whether it answers, and which rights it still has.

use serde_json::Value;

use super::{Finding, chain};
use crate::config::Config;
use crate::control::{self, AskError, Request};
use crate::sandbox::{Confined, SystemCalls, capabilities_in_words, capability_names};

/// Whether a daemon answers, and with which rights it runs.
pub(super) fn daemon(config: &Config, findings: &mut Vec<Finding>) {
    let Some(socket) = config.control_path() else {
        return;
    };
    let what = format!("control socket {}", socket.display());
    match control::ask(&socket, &Request::Status {}) {
        Ok((lines, _)) => {
            let status = lines.into_iter().next().unwrap_or_default();
            let pid = status.get("pid").map(ToString::to_string).unwrap_or_default();
            findings.push(Finding::ok(format!("{what}: a daemon answers (pid {pid})")));
            let kernel = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            findings.push(rights(&kernel, &status));
        }
        Err(AskError::NoDaemon(_)) => findings.push(Finding::info(what, "no daemon is running")),
        Err(error) => findings.push(Finding::warn(
            what,
            format!("{}; run the check as the daemon's user", chain(error)),
        )),
    }
}

/// What the kernel says of the process (`proc_pid_status(5)`), and the process of its files.
fn rights(kernel: &str, status: &Value) -> Finding {
    let field = |name: &str| {
        let line = kernel
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next())
    };
    let (Some(uid), Some(held)) = (field("Uid"), field("CapEff")) else {
        return Finding::warn(
            "rights of the daemon",
            "they cannot be read; run the check as root, where the daemon runs",
        );
    };
    let said = |key: &str| {
        status
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let held = capability_names(u64::from_str_radix(held, 16).unwrap_or(u64::MAX));
    let what = format!(
        "the daemon has user {uid}, {}; system calls: {}; files: {}",
        capabilities_in_words(&held),
        said("system_calls"),
        said("files"),
    );
    let mut lacking = Vec::new();
    if uid == "0" {
        lacking.push("it is root");
    }
    if field("NoNewPrivs") != Some("1") {
        lacking.push("programs that it starts may gain privileges");
    }
    if field("Seccomp") != Some("2") || said("system_calls") == SystemCalls::Open.name() {
        lacking.push("its system calls are not filtered");
    }
    if said("files") != Confined::Fully.name() {
        lacking.push("its files are not confined, or only in part");
    }
    if lacking.is_empty() {
        Finding::ok(what)
    } else {
        Finding::info(what, format!("{}; its log says why", lacking.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        let status = |calls: SystemCalls, files: Confined| json!({ "system_calls": calls.name(), "files": files.name() });
        let all = "Uid:\t977\t977\t977\t977\nCapEff:\t0000000000003000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let root = all
            .replace("977", "0")
            .replace(":\t1", ":\t0")
            .replace(":\t2", ":\t0");
        for (kernel, calls, files, what, lacking) in [
            (
                all,
                SystemCalls::Listed,
                Confined::Fully,
                "user 977, CAP_NET_ADMIN, CAP_NET_RAW;",
                "",
            ),
            (
                all,
                SystemCalls::Open,
                Confined::Partly,
                "user 977",
                "not filtered, its files",
            ),
            (
                &root,
                SystemCalls::Open,
                Confined::No,
                "user 0",
                "it is root, programs",
            ),
            (
                "",
                SystemCalls::Listed,
                Confined::Fully,
                "rights of the daemon",
                "run the check as root",
            ),
        ] {
            let finding = rights(kernel, &status(calls, files));
            let advice = finding.advice.unwrap_or_default();
            assert!(finding.what.contains(what), "{}", finding.what);
            assert!(
                advice.contains(lacking) && advice.is_empty() == lacking.is_empty(),
                "{advice}"
            );
        }
    }
}
