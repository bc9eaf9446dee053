//! What the kernel offers, what is in it, and whether it drops.

use super::{Finding, chain};
#[cfg(feature = "xdp")]
use crate::backend::XdpSupport;
use crate::backend::{self, BackendKind, ProofError, XdpMode, XdpPin};
use crate::ban::BackendError;
use crate::capture::EarlyExit;
use crate::config::Config;
use crate::network::Network;

/// Kernel release, and which backends it has.
pub(super) fn facilities(config: &Config, network: &Network, findings: &mut Vec<Finding>) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    findings.push(Finding::ok(format!("kernel {}", release.trim())));
    for kind in BackendKind::ALL {
        let what = format!("backend {kind}");
        let mut options = config.backend_options(config.watched(network));
        if kind != config.backend {
            // Where its maps would be pinned is of no interest.
            options.xdp_pin = XdpPin::Off;
        }
        match backend::examine(kind, &options) {
            Ok(()) => findings.push(Finding::ok(format!("{what} is available"))),
            Err(error) if kind == config.backend => findings.push(Finding::fail(what, chain(error))),
            Err(error) => findings.push(Finding::info(
                what,
                format!("{}; it is not the chosen one", chain(error)),
            )),
        }
    }
}

/// What each watched interface does with the XDP program, when that is chosen.
#[cfg(feature = "xdp")]
pub(super) fn xdp(config: &Config, network: &Network, findings: &mut Vec<Finding>) {
    if config.backend != BackendKind::Xdp {
        return;
    }
    for name in config.watched(network) {
        // One that is missing is a finding of its own.
        if let Some(support) = XdpSupport::of(&name) {
            findings.push(xdp_finding(format!("XDP on {name}"), support, config.xdp_mode));
        }
    }
}

/// Without XDP there is nothing to ask.
#[cfg(not(feature = "xdp"))]
pub(super) fn xdp(_config: &Config, _network: &Network, _findings: &mut Vec<Finding>) {}

#[cfg(feature = "xdp")]
fn xdp_finding(what: String, support: XdpSupport, mode: XdpMode) -> Finding {
    match (support, mode) {
        (XdpSupport::Attached { native }, _) => {
            let place = if native { "in the driver" } else { "generic" };
            Finding::ok(format!("{what}: btblocker's program is attached ({place})"))
        }
        (XdpSupport::Taken { holder }, _) => Finding::fail(
            what,
            format!("{holder} is attached; stop its owner, or choose the backend nftables or ipset"),
        ),
        (XdpSupport::Unreadable, _) => Finding::fail(
            what,
            "its packets start with neither an Ethernet nor an IP header; choose the backend nftables or ipset",
        ),
        (XdpSupport::Native, XdpMode::Generic) => Finding::info(
            what,
            "its driver runs programs itself, but xdp_mode is generic; auto or native is faster",
        ),
        (XdpSupport::Native, _) => Finding::ok(format!("{what}: its driver runs programs itself (native)")),
        (XdpSupport::Generic, XdpMode::Native) => Finding::fail(
            what,
            "its driver has no native XDP; choose the xdp_mode auto or generic",
        ),
        (XdpSupport::Generic, XdpMode::Generic) => {
            Finding::ok(format!("{what}: the kernel's stack runs the program"))
        }
        (XdpSupport::Generic, _) => Finding::warn(
            what,
            "its driver has no native XDP, so the kernel's stack runs the program, which costs more for each packet; \
             xdp_mode generic says that this is meant",
        ),
        (XdpSupport::Unknown, _) => Finding::info(
            what,
            "this kernel does not say what the driver can (Linux 6.3 does); the daemon tries when it starts",
        ),
    }
}

/// Whether settled flows can end in the kernel, if they are to.
pub(super) fn early_exit(config: &Config, findings: &mut Vec<Finding>) {
    if !config.early_exit {
        return;
    }
    let what = "early exit of settled flows";
    findings.push(match EarlyExit::load(config.snaplen) {
        Ok(_) => Finding::ok(format!("{what} can be loaded")),
        Err(error) => Finding::warn(
            what,
            format!(
                "{}; without it all is recognised, too, for more CPU time",
                chain(error)
            ),
        ),
    });
}

/// Whether sets and rules are there.
pub(super) fn sets_and_rules(config: &Config, network: &Network, findings: &mut Vec<Finding>) {
    let what = format!(
        "{}: sets {} and their drop rules",
        config.backend, config.set_name
    );
    let options = config.backend_options(config.watched(network));
    let verified = backend::open(config.backend, &options).and_then(|mut backend| {
        backend.verify()?;
        backend.list()
    });
    findings.push(match verified {
        Ok(held) => Finding::ok(format!("{what}, {} bans", held.len())),
        Err(error @ BackendError::Missing { .. }) if config.setup => Finding::info(
            what,
            format!("{}; the daemon makes them when it starts", chain(error)),
        ),
        Err(error) => Finding::fail(what, chain(error)),
    });
    for mut other in backend::others_in_place(config.holder(), &options) {
        let held = other.list().map_or(0, |held| held.len());
        if held > 0 {
            findings.push(Finding::warn(
                format!("{} still drops for {held} bans of an earlier run", other.name()),
                format!(
                    "commands to a daemon with this configuration do not lift them; \"btblocker teardown --backend {}\"",
                    other.name()
                ),
            ));
        }
    }
}

/// Which chains of others meet packets before ours.
#[cfg(any(feature = "ipset", feature = "nftables"))]
pub(super) fn order_of_chains(_config: &Config, findings: &mut Vec<Finding>) {
    let Ok(chains) = backend::base_chains() else {
        return;
    };
    for ours in chains.iter().filter(|chain| chain.ours) {
        let what = format!(
            "{} at hook {} with priority {}",
            ours.name, ours.hook, ours.priority
        );
        let earlier: Vec<String> = chains
            .iter()
            .filter(|chain| !chain.ours && chain.hook == ours.hook && chain.priority < ours.priority)
            .map(|chain| format!("{} ({})", chain.name, chain.priority))
            .collect();
        findings.push(if earlier.is_empty() {
            Finding::ok(format!("{what} comes before all other chains"))
        } else {
            Finding::info(
                what,
                format!(
                    "{} come first; what they drop, btblocker cannot count, but what they accept still meets its drop \
                     rules: nothing is to be done",
                    earlier.join(", ")
                ),
            )
        });
    }
}

/// Without netfilter there are no chains.
#[cfg(not(any(feature = "ipset", feature = "nftables")))]
pub(super) fn order_of_chains(_config: &Config, _findings: &mut Vec<Finding>) {}

/// Tries a ban in a scratch network namespace.
pub(super) fn proof(config: &Config, findings: &mut Vec<Finding>) {
    let what = format!("{}: a ban drops packets", config.backend);
    if config.backend == BackendKind::DryRun {
        findings.push(Finding::info(
            what,
            "dry-run drops nothing; choose another backend to block",
        ));
        return;
    }
    // In the scratch namespace there is loopback only, which has no native XDP, and nothing of it is to stay.
    let options = backend::Options {
        xdp_mode: XdpMode::Generic,
        xdp_pin: XdpPin::Off,
        ..config.backend_options(vec!["lo".to_owned()])
    };
    findings.push(match backend::prove(config.backend, &options) {
        Ok(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            Finding::ok(format!(
                "{what} (tried in a scratch network namespace with {})",
                addresses.join(" and ")
            ))
        }
        Err(error @ ProofError::Namespace(_)) => Finding::warn(
            what,
            format!("not proven: {}; run the check as root", chain(error)),
        ),
        Err(error) => Finding::fail(
            what,
            format!(
                "{}; try another backend, and report this with the kernel's version",
                chain(error)
            ),
        ),
    });
}
