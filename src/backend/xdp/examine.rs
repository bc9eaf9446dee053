//! What can be told of XDP before anything is attached.

use std::num::NonZeroU32;

use super::driver;
use super::interface::Interface;
use super::program;
use crate::backend::Options;
use crate::ban::BackendError;

/// What an interface would do with the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdpSupport {
    /// It runs the program of a btblocker already; whether in the driver.
    Attached {
        /// In the driver, not in the kernel's stack.
        native: bool,
    },
    /// Another program is attached.
    Taken {
        /// Its number and name, where they can be read.
        holder: String,
    },
    /// Its packets start with neither an Ethernet nor an IP header.
    Unreadable,
    /// The driver runs programs; attaching may still fail for its MTU, queues or offloads.
    Native,
    /// The driver runs none; the kernel's stack does.
    Generic,
    /// The kernel does not say what the driver can (before 6.3).
    Unknown,
}

/// Loads the program with the smallest maps, which go again at once, so that the kernel says whether it takes it.
pub(in crate::backend) fn load(options: &Options) -> Result<(), BackendError> {
    let options = Options {
        max_elements: NonZeroU32::MIN,
        ..options.clone()
    };
    program::load(&options, None).map(drop)
}

impl XdpSupport {
    /// What the interface says; `None` when there is none of that name. Attaches nothing, because some drivers reset
    /// their link for a program.
    pub fn of(interface: &str) -> Option<Self> {
        let interface = Interface::find(interface).ok()?;
        Some(match (interface.attached(), interface.framing) {
            (Ok(Some(attached)), _) => match interface.holder() {
                (_, Some(name)) if program::NAMES.contains(&name.as_str()) => Self::Attached {
                    native: attached.native,
                },
                (holder, _) => Self::Taken { holder },
            },
            (_, None) => Self::Unreadable,
            _ => match driver::has_native(interface.index) {
                Ok(true) => Self::Native,
                Ok(false) => Self::Generic,
                Err(_) => Self::Unknown,
            },
        })
    }
}
