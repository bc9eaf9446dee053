//! Landlock (`landlock(7)`): which files may be read and written, and which TCP ports used.
//!
//! Promise: nothing can be executed; files are made and changed only in the folders that are named; no outgoing TCP
//! connection unless somebody is to be told over HTTP. Reading stays possible where the system keeps what any program
//! reads. The kernel's rules concern names: descriptors that are open already stay as they are.
//!
//! Needs Linux 5.13; ports 6.7, signals and abstract sockets 6.12.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// What is known of Landlock here; an older kernel does what it can.
const KNOWN: ABI = ABI::V6;
/// Where the system keeps what any program may need: libraries, name service, what the kernel tells.
const SYSTEM: [&str; 9] = [
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/nix/store",
    "/proc",
    "/run",
    "/sys",
    "/usr",
];

/// What stays allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Folders in which files are made, changed and removed. Of one that is missing, the nearest that is there.
    pub written: Vec<PathBuf>,
    /// Files that are read, each with the folder it is in, as editors replace files.
    pub read: Vec<PathBuf>,
    /// TCP ports to listen on.
    pub listen: Vec<u16>,
    /// Whether TCP connections may be opened.
    pub connect: bool,
    /// Whether all folders may be listed: libbpf opens `/` to hold a descriptor's place.
    pub list_all: bool,
}

/// Confines the calling thread and those that it starts.
pub(super) fn confine(files: &Files) -> Result<RulesetStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?;
    let ruleset = if files.connect {
        ruleset
    } else {
        ruleset.handle_access(AccessNet::ConnectTcp)?
    };
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
    let read = files
        .read
        .iter()
        .flat_map(|file| [Some(file.clone()), file.canonicalize().ok()]);
    let read = read.flatten().filter_map(|file| Some(file.parent()?.to_owned()));
    let resolvers = Path::new("/etc/resolv.conf").canonicalize();
    let resolvers = resolvers
        .iter()
        .filter_map(|file| Some(file.parent()?.to_owned()));
    let mut ruleset = ruleset
        .scope(scopes())?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, reading))?
        .add_rules(path_beneath_rules(read.chain(resolvers), reading))?
        .add_rules(path_beneath_rules(
            files.written.iter().filter_map(|path| existing(path)),
            writing,
        ))?
        .add_rules(path_beneath_rules(["/dev/null"], reading | AccessFs::WriteFile))?;
    if files.list_all {
        ruleset = ruleset.add_rules(path_beneath_rules(["/"], AccessFs::ReadDir))?;
    }
    for port in &files.listen {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Signals go to this program's own threads only; neither are abstract sockets of others reached, unless the
/// service manager listens on one.
fn scopes() -> landlock::BitFlags<Scope> {
    let manager = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
    if manager.starts_with('@') {
        Scope::Signal.into()
    } else {
        Scope::Signal | Scope::AbstractUnixSocket
    }
}

/// The folder, or the nearest above it that exists; never all of the filesystem.
fn existing(folder: &Path) -> Option<&Path> {
    let found = folder.ancestors().find(|folder| folder.exists());
    found.filter(|folder| folder.parent().is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Runs in a thread that is confined; `false` where the kernel has no Landlock.
    fn confined(files: Files, work: impl FnOnce() + Send) -> bool {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                let enforced = confine(&files).unwrap() != RulesetStatus::NotEnforced;
                if enforced {
                    work();
                }
                enforced
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn files_are_written_where_they_may_be_and_nowhere_else() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "secret").unwrap();
        let files = Files {
            written: vec![own.path().join("made/later")],
            ..Files::default()
        };
        let is_confined = confined(files, || {
            fs::create_dir_all(own.path().join("made/later")).unwrap();
            fs::write(own.path().join("made/later/a"), "a").unwrap();
            fs::rename(own.path().join("made/later/a"), own.path().join("b")).unwrap();
            fs::remove_file(own.path().join("b")).unwrap();
            assert!(fs::read("/etc/passwd").is_ok() && fs::read("/proc/self/status").is_ok());
            for denied in [
                fs::write(other.path().join("new"), "a").err(),
                fs::write("/etc/btblocker-test", "a").err(),
                fs::read(other.path().join("secret")).err(),
                fs::read_dir("/root").err(),
                std::process::Command::new("true").spawn().err(),
            ] {
                assert_eq!(denied.unwrap().kind(), std::io::ErrorKind::PermissionDenied);
            }
        });
        assert!(is_confined || !Path::new("/sys/kernel/security/landlock").exists());
    }

    #[test]
    fn tcp_is_confined_to_what_is_configured() {
        let (listener, free) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let (address, port) = (listener.local_addr().unwrap(), free.local_addr().unwrap().port());
        drop(free);
        for connect in [false, true] {
            let files = Files {
                listen: vec![port],
                connect,
                ..Files::default()
            };
            confined(files, || {
                assert_eq!(TcpStream::connect(address).is_ok(), connect);
                assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
                assert!(TcpListener::bind("127.0.0.1:0").is_err());
            });
        }
    }
}
