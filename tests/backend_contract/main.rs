//! One contract for every backend, in network namespaces that the tests make themselves.
//!
//! Needs root (CAP_SYS_ADMIN for namespaces, CAP_NET_ADMIN within), the kernel's ipset and nftables, and the
//! programs `ip`, `nft`, `ipset`, `iptables` and `ping` for what happens outside of the backend. Nothing of the
//! machine's own network is touched.
#![cfg(all(feature = "ipset", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first surprise; clippy exempts only functions that bear #[test]"
)]

mod cases;
mod kernel_cases;
mod namespace;
mod packets;
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind};

use btblocker::backend::{BackendKind, Options, XdpPin, open};
use btblocker::ban::SetBackend;
use namespace::Namespace;

/// One case: its name, what it does, and how many elements a set may hold.
type Case = (&'static str, fn(&mut Bench), u32);

/// What a case works on: a backend that is open in a fresh namespace and has changed nothing yet.
struct Bench {
    kind: BackendKind,
    options: Options,
    backend: Box<dyn SetBackend>,
}

/// Runs each case in a namespace of its own and reports all that fail.
fn check(kind: BackendKind, cases: &[Case]) {
    namespace::require_root();
    let mut failed = Vec::new();
    for (name, case, max_elements) in cases {
        let options = Options {
            max_elements: (*max_elements).try_into().unwrap(),
            interfaces: vec!["lo".to_owned()],
            xdp_pin: XdpPin::Off,
            ..Options::default()
        };
        let case = *case;
        let outcome = Namespace::new().run(move || {
            catch_unwind(AssertUnwindSafe(|| {
                let backend = open(kind, &options).unwrap();
                case(&mut Bench {
                    kind,
                    options,
                    backend,
                });
            }))
        });
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    assert!(
        failed.is_empty(),
        "{kind}: {} of {} cases fail: {failed:#?}",
        failed.len(),
        cases.len()
    );
}

#[test]
fn ipset_keeps_the_contract() {
    check(BackendKind::Ipset, cases::ALL);
    check(BackendKind::Ipset, kernel_cases::ALL);
}

#[test]
fn nftables_keeps_the_contract() {
    check(BackendKind::Nftables, cases::ALL);
    check(BackendKind::Nftables, kernel_cases::ALL);
}

#[test]
fn dry_run_keeps_the_contract() {
    check(BackendKind::DryRun, cases::ALL);
}

#[cfg(feature = "xdp")]
#[test]
fn xdp_keeps_the_contract() {
    check(BackendKind::Xdp, cases::ALL);
}
