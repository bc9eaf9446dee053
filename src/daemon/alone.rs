//! At most one daemon in a network namespace writes sets and drop rules: tables have one name whatever the sets are called,
//! so each of two would take the other's rules away.
//!
//! What such a daemon holds is a name of abstract unix sockets (`unix(7)`), of which each network namespace has its own. It
//! is free again when the process has ended, however it ends.
//!
//! Deliberately not believed: just anybody who holds the name, which takes no rights. Otherwise each local user
//! could keep the daemon from starting.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use log::warn;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::backend::BackendKind;
use crate::config::Config;
use crate::sandbox;

const NAME: &[u8] = b"btblocker";

/// The name is held as long as this is; nothing is held by a daemon that writes none of these sets.
#[derive(Debug)]
pub(super) struct Alone {
    _held: Option<UnixListener>,
}

impl Alone {
    /// To be called before the user changes: whoever looks at the holder then sees whose it is.
    ///
    /// # Errors
    /// When another daemon holds the name.
    pub(super) fn claim(config: &Config) -> anyhow::Result<Self> {
        // XDP has a lock of its own where its state is.
        if !matches!(config.holder(), BackendKind::Ipset | BackendKind::Nftables) {
            return Ok(Self { _held: None });
        }
        let why = match take() {
            Ok(held) => return Ok(Self { _held: Some(held) }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder() {
                Ok(uid) if sandbox::is_daemons_user(uid, &config.user) => anyhow::bail!(
                    "another btblocker is running and bans in this network namespace, where two would take each other's \
                     drop rules away; stop it, and give one daemon all interfaces (`interface`)"
                ),
                Ok(uid) => format!("user {uid} holds the socket name @btblocker and is no daemon's"),
                Err(error) => format!("who holds the socket name @btblocker does not say who it is: {error}"),
            },
            Err(error) => format!("the socket name @btblocker cannot be held: {error}"),
        };
        warn!("{why}; a second btblocker that bans in this network namespace would not be noticed");
        Ok(Self { _held: None })
    }
}

fn take() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)
}

/// The user that took the name, as of when it began to listen. Nobody answers, so the queue of a holder may be full; that
/// is not waited for.
fn holder() -> io::Result<u32> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(NAME)?)?;
    Ok(socket_peercred(&socket)?.uid.as_raw())
}
