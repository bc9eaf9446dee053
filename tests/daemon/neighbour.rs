//! A host at the other end of a device.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::namespace::ip;

/// A network namespace at the other end of a device, held by a thread.
pub(crate) struct Neighbour {
    orders: mpsc::Sender<Order>,
}

type Order = Box<dyn FnOnce() + Send>;

impl Neighbour {
    /// Moves the device into a new namespace.
    pub(crate) fn behind(device: &str) -> Self {
        let (orders, taken) = mpsc::channel::<Order>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // SAFETY: neither call takes a pointer; only this thread changes its namespace.
            let (result, thread) = unsafe { (libc::unshare(libc::CLONE_NEWNET), libc::gettid()) };
            assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
            tell.send(thread).unwrap();
            taken.into_iter().for_each(|order| order());
        });
        ip(&format!("link set {device} netns {}", told.recv().unwrap()));
        let this = Self { orders };
        this.ip("link set lo up");
        this.ip(&format!("link set {device} up"));
        this
    }

    /// Runs `ip` there.
    pub(crate) fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.there(move || ip(&arguments));
    }

    /// A TCP connection from there.
    pub(crate) fn connect(&self, server: SocketAddr) -> TcpStream {
        self.there(move || TcpStream::connect_timeout(&server, Duration::from_secs(10)).unwrap())
    }

    /// Does something there.
    pub(crate) fn there<T: Send + 'static>(&self, order: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.orders
            .send(Box::new(move || tell.send(order()).unwrap()))
            .unwrap();
        told.recv().expect("what was ordered there succeeds")
    }
}
