//! Which network namespace this process is in.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Number of this process's network namespace: its inode, `namespaces(7)`. Everybody may look at their own.
pub fn own_namespace() -> Option<u64> {
    namespace_of(std::process::id())
}

/// Number of this process's network namespace, unless it is the machine's or the container's own. Process 1 tells which
/// that is, or the remotest ancestor that may be looked at. Asked once: it stays the same, and with fewer rights neither
/// may be looked at any more.
pub fn separate_namespace() -> Option<u64> {
    static NAMESPACE: OnceLock<Option<u64>> = OnceLock::new();
    *NAMESPACE.get_or_init(find)
}

fn find() -> Option<u64> {
    let own = own_namespace()?;
    let visible_parent =
        |process| parent_of(process).filter(|&parent| parent > 1 && namespace_of(parent).is_some());
    let remotest = std::iter::successors(visible_parent(std::process::id()), |&process| {
        visible_parent(process)
    })
    .last();
    let reference = namespace_of(1).or_else(|| namespace_of(remotest?))?;
    (reference != own).then_some(own)
}

fn namespace_of(process: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{process}/ns/net"))
        .ok()
        .map(|file| file.ino())
}

/// The parent's number, from `proc_pid_stat(5)`: the second word behind the name, which is in parentheses and may hold
/// anything.
pub(super) fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_parent_and_its_namespace() {
        let own = std::process::id();
        assert_eq!(parent_of(own), Some(std::os::unix::process::parent_id()));
        assert!(own_namespace().is_some());
        assert_eq!(parent_of(u32::MAX), None);
    }
}
