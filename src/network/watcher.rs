//! Tells that interfaces, addresses or routes have changed.

use super::NetworkError;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// A subscription to the kernel's changes of the calling thread's network namespace. Its descriptor is readable
/// when there are changes.
#[derive(Debug)]
pub struct Watcher {
    socket: Socket,
}

impl Watcher {
    /// Changes from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> Result<Self, NetworkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| NetworkError::Kernel {
            action: "watch changes",
            source,
        })?;
        Ok(Self { socket })
    }

    /// Whether anything has changed since the last call; forgets it. Never blocks.
    pub fn changed(&mut self) -> bool {
        let (mut changed, mut buffer) = (false, [0; 512]);
        loop {
            // What is cut is not missed: that there is a change is all that is asked.
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Too many changes at once: the kernel has dropped some, and says so once.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
