//! Which network namespace this process is in.

use std::os::unix::fs::MetadataExt;

/// Number of this process's network namespace (its inode, `namespaces(7)`), unless it is the machine's or the
/// container's own, which is that of process 1. Also `None` when process 1 may not be looked at.
pub fn separate_namespace() -> Option<u64> {
    let number = |path: &str| std::fs::metadata(path).ok().map(|file| file.ino());
    let (own, first) = (number("/proc/self/ns/net")?, number("/proc/1/ns/net")?);
    (own != first).then_some(own)
}
