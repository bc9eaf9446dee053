//! XDP in earnest: programs loaded, attached and asked by traffic, each test in namespaces of its own. Needs root.

#![cfg(feature = "xdp")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attach;
mod frames;
mod lab;
mod program;
mod survive;
mod traffic;
mod tun;
mod vlan;

use std::time::Duration;

use btblocker::backend::{Options, Xdp, XdpMode, XdpPin};
use btblocker::ban::{BackendError, Change, Element, PacketCounters, SetBackend, Timeout};

/// Options for one interface, pinned where the lab has a bpf filesystem.
fn options(interface: &str, mode: XdpMode) -> Options {
    Options {
        interfaces: vec![interface.to_owned()],
        xdp_mode: mode,
        xdp_pin: XdpPin::At(lab::PIN_DIR.into()),
        max_elements: 4096.try_into().unwrap(),
        ..Options::default()
    }
}

/// An attached backend.
fn attached(interface: &str, mode: XdpMode) -> Xdp {
    let mut xdp = Xdp::open(&options(interface, mode)).unwrap();
    xdp.ensure().unwrap();
    xdp
}

fn ban(element: &str, secs: u64) -> Change {
    Change::Ban(
        element.parse().unwrap(),
        Timeout::from_duration(Duration::from_secs(secs)),
    )
}

fn unban(element: &str) -> Change {
    Change::Unban(element.parse().unwrap())
}

/// What is listed, sorted.
fn listed(xdp: &mut Xdp) -> Vec<Element> {
    let mut elements: Vec<_> = xdp.list().unwrap().into_iter().map(|held| held.element).collect();
    elements.sort();
    elements
}

/// What the program counted.
fn counters(xdp: &mut Xdp) -> PacketCounters {
    xdp.packets().unwrap().unwrap()
}

/// The text of an error with its causes.
fn text(error: BackendError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
