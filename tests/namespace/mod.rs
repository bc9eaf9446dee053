//! A network namespace for one test.

use std::process::Command;
use std::thread;

/// Runs a test in a new network namespace, which ends with its threads.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    // SAFETY: geteuid takes no pointer.
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "this test makes network namespaces: run it as root");
    let run = || {
        // SAFETY: unshare takes no pointer; only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
        ip("link set lo up");
        test();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip (iproute2) runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {text}");
}

/// A pair of connected Ethernet devices, both up.
pub(crate) fn veth(name: &str, peer: &str) {
    ip(&format!("link add {name} type veth peer name {peer}"));
    ip(&format!("link set {peer} up"));
    ip(&format!("link set {name} up"));
}
