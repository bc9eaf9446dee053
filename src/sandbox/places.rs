//! The paths that the daemon works with: whether another user reaches them, and handing over those that are its own.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::account::Account;

/// A path, and what the daemon does there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path.
    pub path: PathBuf,
    /// What is done there.
    pub need: Need,
}

/// What is done at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A folder that belongs to this program: made when missing, and given to the user.
    Own,
    /// A folder in which files are made; made when missing, and then its own.
    Folder,
    /// A file that is read and written, in a folder in which others are made.
    File,
    /// A file that is read again.
    Read,
    /// A program that is run.
    Run,
}

/// A place that the user does not reach.
#[derive(Debug)]
pub(super) struct OutOfReach {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be {} ({})",
            self.path.display(),
            self.what,
            self.source
        )
    }
}

/// Makes folders that are missing, as root. A place that cannot be made is left to whoever needs it.
/// The folders that are this program's own.
pub(super) fn make(places: &[Place]) -> Vec<PathBuf> {
    let mut own = Vec::new();
    for Place { path, need } in places {
        match need {
            Need::Own | Need::Folder if !path.exists() => {
                if let Some(above) = path.parent() {
                    // Its failure shows in the next line.
                    let _ = fs::create_dir_all(above);
                }
                if DirBuilder::new().mode(0o700).create(path).is_ok() {
                    own.push(path.clone());
                }
            }
            Need::Own => own.push(path.clone()),
            Need::Folder | Need::File | Need::Read | Need::Run => {}
        }
    }
    own
}

/// Gives folders that belong to root, with the files in them, to the account. What others can write to is left.
pub(super) fn hand_over(own: &[PathBuf], account: &Account) -> io::Result<()> {
    for folder in own {
        let found = fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0 {
            continue;
        }
        // Nobody but root could put something here so far, so no name leads elsewhere.
        for entry in fs::read_dir(folder)? {
            lchown(entry?.path(), Some(account.uid), Some(account.gid))?;
        }
        lchown(folder, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// The first place that the account would not reach, when the folders in `own` were its own.
///
/// # Errors
/// When this process may not act for another user.
pub(super) fn out_of_reach(
    places: &[Place],
    own: &[PathBuf],
    account: &Account,
) -> io::Result<Option<OutOfReach>> {
    let is_own = |path: &Path| own.iter().any(|folder| folder == path);
    as_user(account, || {
        places.iter().find_map(|place| {
            let path = place.path.as_path();
            let above = path.parent().unwrap_or(path);
            match place.need {
                // Once handed over, all that is needed is the way there.
                Need::Own | Need::Folder if is_own(path) && is_own(above) => None,
                Need::Own | Need::Folder if is_own(path) => denied(above, Access::EXEC_OK, "reached"),
                Need::Own | Need::Folder => denied(path, Access::WRITE_OK | Access::EXEC_OK, "written"),
                Need::File if is_own(above) => None,
                Need::File => denied(above, Access::WRITE_OK | Access::EXEC_OK, "written")
                    .or_else(|| denied(path, Access::READ_OK | Access::WRITE_OK, "written")),
                Need::Read => denied(path, Access::READ_OK, "read"),
                Need::Run => denied(path, Access::EXEC_OK, "run"),
            }
        })
    })
}

/// The refusal of an access with the rights in force; what does not exist is refused to nobody.
fn denied(path: &Path, access: Access, what: &'static str) -> Option<OutOfReach> {
    let source: io::Error = accessat(CWD, path, access, AtFlags::empty()).err()?.into();
    (source.kind() == io::ErrorKind::PermissionDenied).then(|| OutOfReach {
        path: path.to_owned(),
        what,
        source,
    })
}

/// Runs with the real and effective user and group of another account, in this thread: `access(2)` asks for the real
/// ones. The saved user is the way back.
fn as_user<T>(account: &Account, work: impl FnOnce() -> T) -> io::Result<T> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let (root, group) = (rustix::process::getuid(), rustix::process::getgid());
    let groups = rustix::process::getgroups()?;
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, None)?;
    set_thread_res_uid(uid, uid, None)?;
    let outcome = work();
    set_thread_res_uid(root, root, None)?;
    set_thread_res_gid(group, group, None)?;
    set_thread_groups(&groups)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn somebody() -> Account {
        Account {
            name: "somebody".to_owned(),
            uid: 65_533,
            gid: 65_533,
        }
    }

    /// What is out of reach in a folder that all may enter; the file `file` and the folder `folder` are root's.
    #[track_caller]
    fn check(mode: u32, name: &str, need: Need, refused: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        open(&folder.path().join("file"), 0o600);
        open(folder.path(), mode);
        let places = [Place {
            path: folder.path().join(name),
            need,
        }];
        let own = make(&places);
        let found = out_of_reach(&places, &own, &somebody()).unwrap();
        match (found, refused) {
            (None, None) => hand_over(&own, &somebody()).unwrap(),
            (Some(found), Some(refused)) => assert!(found.to_string().contains(refused), "{found}"),
            (found, _) => panic!("{name} {need:?} with mode {mode:o}: {found:?}"),
        }
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        assert!(fs::read(folder.path().join("file")).is_ok(), "root is root again");
    }

    #[test]
    fn what_another_user_does_not_reach_is_found() {
        for (mode, name, need, refused) in [
            (0o755, "missing", Need::Own, None),
            (0o755, "missing", Need::Folder, None),
            (0o755, "folder", Need::Own, None),
            (0o755, "folder", Need::Folder, Some("cannot be written")),
            (0o700, "missing", Need::Own, Some("cannot be reached")),
            (0o755, "file", Need::File, Some("cannot be written")),
            (0o777, "file", Need::File, Some("file cannot be written")),
            (0o777, "missing", Need::File, None),
            (0o755, "file", Need::Read, Some("cannot be read")),
            (0o755, "file", Need::Run, Some("cannot be run")),
            (0o755, "missing", Need::Read, None),
            (0o700, "missing", Need::Run, Some("cannot be run")),
        ] {
            check(mode, name, need, refused);
        }
    }

    #[test]
    fn a_folder_in_a_folder_of_its_own_is_its_own() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = |name: &str, need| Place {
            path: root.path().join(name),
            need,
        };
        let places = [place("state", Need::Own), place("state/evidence", Need::Folder)];
        for _ in 0..2 {
            let own = make(&places);
            assert!(out_of_reach(&places, &own, &somebody()).unwrap().is_none());
            hand_over(&own, &somebody()).unwrap();
            for Place { path, .. } in &places {
                assert_eq!(fs::metadata(path).unwrap().uid(), 65_533, "{path:?}");
            }
        }
    }

    #[test]
    fn folders_are_given_with_their_files_unless_others_could_write() {
        for (mode, owner) in [(0o755, 65_533), (0o777, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let own = folder.path().join("own");
            fs::create_dir(&own).unwrap();
            fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
            fs::write(own.join("file"), "").unwrap();
            std::os::unix::fs::symlink("/etc/passwd", own.join("link")).unwrap();
            hand_over(std::slice::from_ref(&own), &somebody()).unwrap();
            for path in [own.clone(), own.join("file"), own.join("link")] {
                assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), owner, "{path:?}");
            }
            assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), 0);
        }
    }
}
