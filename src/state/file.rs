//! The file: its form, and how it is read and replaced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use btblocker_detectors::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backend::SetName;
use crate::ban::{Element, Past, Reason, Record, Timeout};

/// The form of the file. Higher numbers belong to later programs and are not read.
const VERSION: u64 = 1;
/// More than one ban takes in the file, with what is kept of a ban that has ended: a test adds up the longest of each
/// field. Recorded ones take some 300 bytes.
const BYTES_PER_BAN: u64 = 2_048;
/// A file of this size is read in any case, though `max_bans` was lowered since.
const READ_IN_ANY_CASE: u64 = 256 * 1024 * 1024;

/// Why bans could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The disk refuses.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More than what would be read again; the former file is still there.
    #[error("{path} would take {bytes} bytes, and no more than {limit} are read again")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is to be remembered.
        bytes: u64,
        /// What follows from `max_bans`.
        limit: u64,
    },
    /// The file is damaged, of something else, or of a later program.
    #[error("{path} cannot be read as a list of bans ({why}); it is set aside as {aside}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Its name from now on.
        aside: PathBuf,
    },
}

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u64,
    /// When it was written, in microseconds since 1970.
    written: u64,
    bans: Vec<SavedBan>,
    /// Absent in files of programs that did not remember it.
    #[serde(default)]
    past: Vec<SavedPast>,
}

/// One ban; times in microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct SavedBan {
    address: String,
    since: u64,
    until: u64,
    duration_secs: u64,
    flows: u32,
    times: u32,
    technique: String,
    reason: String,
    client: Option<String>,
}

/// Bans of a host that have ended, the last one at `until`.
#[derive(Debug, Serialize, Deserialize)]
struct SavedPast {
    address: String,
    until: u64,
    times: u32,
}

/// What is to be remembered at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Bans in force.
    pub bans: Vec<(Element, Record)>,
    /// Bans that have ended.
    pub past: Vec<(Element, Past)>,
    /// The moment by the wall clock.
    pub wall: Timestamp,
    /// The moment by the manager's clock.
    pub now: Duration,
}

/// What a file held.
#[derive(Debug, Default)]
pub struct Restored {
    /// Bans with time left.
    pub bans: Vec<(Element, Record)>,
    /// Bans that have ended, those that ran out meanwhile included.
    pub past: Vec<(Element, Past)>,
    /// Bans that ran out meanwhile.
    pub over: usize,
    /// Why there is nothing, when there should be something.
    pub trouble: Option<StateError>,
}

/// Where the bans of one set name are kept.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    path: PathBuf,
    /// Longest file that is written and read, in bytes.
    limit: u64,
}

impl Store {
    /// The place for a set name within a folder, which need not exist yet, with room for `max_bans`. Touches nothing.
    pub fn new(folder: &Path, set_name: &SetName, max_bans: usize) -> Self {
        let max_bans = u64::try_from(max_bans).unwrap_or(u64::MAX);
        Self {
            folder: folder.to_owned(),
            path: folder.join(format!("{set_name}.json")),
            limit: max_bans.saturating_mul(BYTES_PER_BAN).max(READ_IN_ANY_CASE),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. `wall` is the wall clock's time and `now` that of the manager's clock, in which deadlines are
    /// given. A clock that is behind the time of writing, as on a machine without a battery, counts as standing
    /// there; no ban is longer than when it was written. An unreadable file is renamed.
    pub fn load(&self, wall: Timestamp, now: Duration) -> Restored {
        let failed = |trouble| Restored {
            trouble: Some(trouble),
            ..Restored::default()
        };
        let bytes = match self.read() {
            Ok(bytes) => bytes,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Restored::default(),
                    // Nothing could ever be written in its place.
                    io::ErrorKind::IsADirectory => failed(self.set_aside("it is a folder".to_owned(), wall)),
                    // The next writing would replace what may be readable again later.
                    _ => failed(self.set_aside(error.to_string(), wall)),
                };
            }
        };
        match parse(&bytes) {
            Ok(saved) => restored(&saved, wall, now),
            Err(why) => failed(self.set_aside(why, wall)),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let more = self.limit.saturating_add(1);
        File::open(&self.path)?.take(more).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= self.limit {
            return Ok(bytes);
        }
        let why = format!("it is longer than the {} bytes that max_bans allows", self.limit);
        Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
    }

    /// What is remembered, for showing it: nothing is renamed, an unreadable file counts as empty, and deadlines
    /// mean nothing.
    pub fn peek(&self) -> Vec<(Element, Record)> {
        let saved = self.read().ok().and_then(|bytes| parse(&bytes).ok());
        saved.map_or_else(Vec::new, |saved| {
            restored(&saved, Timestamp(0), Duration::ZERO).bans
        })
    }

    /// Takes bans out of the file; one that [`Store::load`] would set aside brings back nobody. For commands, while no
    /// daemon runs.
    ///
    /// # Errors
    /// As [`Store::save`], and when the file cannot be read.
    pub fn forget(&self, elements: &[Element]) -> Result<(), StateError> {
        let bytes = match self.read() {
            Ok(bytes) => bytes,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge => {
                        Ok(())
                    }
                    _ => Err(self.io("read", &self.path, error)),
                };
            }
        };
        let Ok(mut saved) = parse(&bytes) else {
            return Ok(());
        };
        let stays = |address: &str| !elements.iter().any(|element| element.to_string() == address);
        saved.bans.retain(|ban| stays(&ban.address));
        saved.past.retain(|past| stays(&past.address));
        self.replace(&saved)
    }

    /// Adds bans that are alike to the file; their deadline counts from `wall`. For commands, while no daemon runs.
    ///
    /// # Errors
    /// [`StateError::Io`], and [`StateError::Unreadable`] when there is a file that is none of ours.
    pub fn remember(&self, elements: &[Element], record: &Record, wall: Timestamp) -> Result<(), StateError> {
        let mut saved = match self.read() {
            Ok(bytes) => parse(&bytes).map_err(|why| self.set_aside(why, wall))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved {
                version: VERSION,
                written: wall.0,
                bans: Vec::new(),
                past: Vec::new(),
            },
            Err(source) => return Err(self.io("read", &self.path, source)),
        };
        saved.written = saved.written.max(wall.0);
        let ban = |element: &Element| saved_ban(*element, record, wall, Duration::ZERO);
        let anew: Vec<SavedBan> = elements.iter().map(ban).collect();
        saved
            .bans
            .retain(|ban| !anew.iter().any(|new| new.address == ban.address));
        saved.bans.extend(anew);
        self.replace(&saved)
    }

    /// Replaces the file, and makes the folder when it is missing.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::TooLong`]; the former file is still there.
    pub fn save(&self, picture: &Picture) -> Result<(), StateError> {
        let Picture {
            bans,
            past,
            wall,
            now,
        } = picture;
        let saved = Saved {
            version: VERSION,
            written: wall.0,
            bans: bans
                .iter()
                .map(|(element, record)| saved_ban(*element, record, *wall, *now))
                .collect(),
            past: past
                .iter()
                .map(|(element, past)| SavedPast {
                    address: element.to_string(),
                    until: wall.0.saturating_sub(micros(past.ago)),
                    times: past.times,
                })
                .collect(),
        };
        self.replace(&saved)
    }

    fn replace(&self, saved: &Saved) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(saved).map_err(|error| self.io("write", &self.path, error.into()))?;
        if bytes.len() as u64 > self.limit {
            return Err(StateError::TooLong {
                path: self.path.clone(),
                bytes: bytes.len() as u64,
                limit: self.limit,
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| self.io("make the folder", &self.folder, source))?;
        let beside = self.path.with_extension("json.new");
        let written = write_beside(&beside, &bytes, &self.folder);
        if let Err(source) = written {
            // What is left of it would fill the disk further.
            let _ = fs::remove_file(&beside);
            return Err(self.io("write", &beside, source));
        }
        fs::rename(&beside, &self.path).map_err(|source| self.io("replace", &self.path, source))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.io("flush the folder", &self.folder, source))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`StateError::Io`] when there is one that cannot be removed.
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.io("remove", &self.path, source))
            }
            _ => Ok(()),
        }
    }

    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> StateError {
        StateError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    fn set_aside(&self, why: String, wall: Timestamp) -> StateError {
        let aside = self
            .path
            .with_extension(format!("json.bad-{}", wall.0 / 1_000_000));
        match fs::rename(&self.path, &aside) {
            Ok(()) => StateError::Unreadable {
                path: self.path.clone(),
                why,
                aside,
            },
            Err(source) => self.io("set aside", &self.path, source),
        }
    }
}

/// Writes a new file that belongs to whom the folder belongs to: commands are root's, the daemon need not be. What is
/// in its place is removed, not followed.
fn write_beside(path: &Path, bytes: &[u8], folder: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let owner = fs::metadata(folder)?;
    if file.metadata()?.uid() == 0 && owner.uid() != 0 {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn parse(bytes: &[u8]) -> Result<Saved, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u64,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if head.version != VERSION {
        return Err(format!("version {}, this program reads {VERSION}", head.version));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn saved_ban(element: Element, record: &Record, wall: Timestamp, now: Duration) -> SavedBan {
    let left = micros(record.deadline.saturating_sub(now));
    SavedBan {
        address: element.to_string(),
        since: record.since.0,
        until: wall.0.saturating_add(left),
        duration_secs: record.duration.as_secs(),
        flows: record.flows,
        times: record.times,
        technique: record.reason.technique.clone(),
        reason: record.reason.text.clone(),
        client: record.reason.client.clone(),
    }
}

fn restored(saved: &Saved, wall: Timestamp, now: Duration) -> Restored {
    let mut restored = Restored::default();
    let longest = Duration::from_secs(Timeout::MAX_SECS.into());
    let wall = wall.0.max(saved.written);
    let ended = |times, until| Past {
        times,
        ago: Duration::from_micros(wall.saturating_sub(until)),
    };
    for past in &saved.past {
        let element = element(&past.address);
        let past = ended(past.times, past.until);
        restored.past.extend(element.map(|element| (element, past)));
    }
    for ban in &saved.bans {
        let left = Duration::from_micros(ban.until.saturating_sub(wall)).min(longest);
        let Some(element) = element(&ban.address) else {
            continue;
        };
        if left.is_zero() {
            restored.over += 1;
            restored.past.push((element, ended(ban.times, ban.until)));
            continue;
        }
        let record = Record {
            reason: Arc::new(Reason {
                technique: ban.technique.clone(),
                text: ban.reason.clone(),
                client: ban.client.clone(),
            }),
            since: Timestamp(ban.since),
            deadline: now + left,
            duration: Duration::from_secs(ban.duration_secs).clamp(Duration::from_secs(1), longest),
            flows: ban.flows,
            times: ban.times,
        };
        restored.bans.push((element, record));
    }
    restored
}

fn element(address: &str) -> Option<Element> {
    let element = address.parse().ok();
    if element.is_none() {
        log::warn!("a remembered ban is of {address:?}, which is no address; it is left out");
    }
    element
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const WRITTEN: u64 = 1_790_000_000_000_000;

    fn store(folder: &Path) -> Store {
        Store::new(&folder.join("state"), &SetName::default(), 65_536)
    }

    fn ban() -> (Element, Record) {
        let reason = Reason {
            technique: "dht".into(),
            text: "dht \"query\"".into(),
            client: Some("µTorrent".into()),
        };
        let record = Record {
            reason: Arc::new(reason),
            since: Timestamp(WRITTEN - 7),
            deadline: 2 * HOUR,
            duration: 5 * HOUR,
            flows: 3,
            times: 2,
        };
        ("2001:db8::/64".parse().unwrap(), record)
    }

    /// One ban in force, and one that ended an hour ago.
    fn picture() -> Picture {
        let past = Past { times: 3, ago: HOUR };
        Picture {
            bans: vec![ban()],
            past: vec![("192.0.2.3".parse().unwrap(), past)],
            wall: Timestamp(WRITTEN),
            now: HOUR,
        }
    }

    #[test]
    fn bans_come_back_as_they_were_with_the_time_that_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&picture()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.folder), mode(&store.path)), (0o700, 0o600));
        // Seconds that the wall clock went on, and minutes that are left.
        for (later, left) in [
            (0_i64, Some(60)),
            (600, Some(50)),
            (-86_400, Some(60)),
            (3_599, Some(0)),
            (3_600, None),
        ] {
            let wall = Timestamp(WRITTEN.saturating_add_signed(later * 1_000_000));
            let restored = store.load(wall, 9 * HOUR);
            assert!(restored.trouble.is_none());
            let elapsed = Duration::from_secs(later.max(0).unsigned_abs());
            assert_eq!(
                restored.past[0].1,
                Past {
                    times: 3,
                    ago: HOUR + elapsed
                }
            );
            match left {
                None => {
                    let over = Past {
                        times: 2,
                        ago: Duration::ZERO,
                    };
                    assert_eq!((restored.bans.len(), restored.over), (0, 1));
                    assert_eq!(restored.past[1], (ban().0, over));
                }
                Some(minutes) => {
                    let (element, mut record) = restored.bans[0].clone();
                    assert_eq!(
                        (record.deadline - 9 * HOUR).as_secs() / 60,
                        minutes,
                        "{later} s later"
                    );
                    record.deadline = 2 * HOUR;
                    assert_eq!((element, record), ban());
                }
            }
        }
        assert_eq!(store.peek().len(), 1);
        store.forget(&["192.0.2.1".parse().unwrap()]).unwrap();
        assert_eq!(store.peek().len(), 1);
        store.forget(&[ban().0, "192.0.2.3".parse().unwrap()]).unwrap();
        assert_eq!(store.peek().len(), 0);
        assert_eq!(store.load(Timestamp(WRITTEN), HOUR).past, []);
        store.remove().unwrap();
        store.remove().unwrap();
        assert!(store.load(Timestamp(WRITTEN), HOUR).bans.is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&picture()).unwrap();
        let whole = fs::read(&store.path).unwrap();
        let later = String::from_utf8(whole.clone())
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        for (bytes, why) in [
            (&whole[..whole.len() / 2], "EOF"),
            (&b""[..], "EOF"),
            (&[0; 512][..], "expected value"),
            (b"[1, 2]", "trailing"),
            (b"{\"version\": 1, \"bans\": 5}", "invalid type"),
            (later.as_bytes(), "version 2, this program reads 1"),
        ] {
            fs::write(&store.path, bytes).unwrap();
            let trouble = store.load(Timestamp(WRITTEN), HOUR).trouble.unwrap().to_string();
            assert!(
                trouble.contains(why) && trouble.contains(".json.bad-1790000000"),
                "{trouble}"
            );
            assert!(!store.path.exists());
            let aside = store.path.with_extension("json.bad-1790000000");
            assert_eq!(fs::read(aside).unwrap(), bytes);
        }
        fs::create_dir(&store.path).unwrap();
        let later = Timestamp(WRITTEN + 1_000_000);
        let trouble = store.load(later, HOUR).trouble.unwrap().to_string();
        assert!(
            trouble.contains("it is a folder") && trouble.contains(".json.bad-1790000001"),
            "{trouble}"
        );
        std::os::unix::fs::symlink(&store.path, &store.path).unwrap();
        let later = Timestamp(WRITTEN + 2_000_000);
        let trouble = store.load(later, HOUR).trouble.unwrap().to_string();
        assert!(
            trouble.contains("symbolic link") && trouble.contains(".json.bad-1790000002"),
            "{trouble}"
        );
        store.save(&picture()).unwrap();
        assert_eq!(store.load(Timestamp(WRITTEN), HOUR).bans.len(), 1);
    }

    #[test]
    fn what_is_written_is_read_again_whatever_max_bans_is() {
        let folder = tempfile::tempdir().unwrap();
        let longest = |count| "\"".repeat(count);
        let reason = Reason {
            technique: longest(32),
            // Technique, rule, confidence, corroboration, and a flow of two IPv6 endpoints.
            text: longest(4 * 32 + 110),
            client: Some(longest(32)),
        };
        let element: Element = "1111:1111:1111:1111:1111:1111:1111:1110/127".parse().unwrap();
        let record = Record {
            reason: Arc::new(reason),
            since: Timestamp(u64::MAX),
            deadline: Duration::MAX,
            duration: Duration::MAX,
            flows: u32::MAX,
            times: u32::MAX,
        };
        let past = Past {
            times: u32::MAX,
            ago: Duration::ZERO,
        };
        let most = |count| Picture {
            bans: vec![(element, record.clone()); count],
            past: vec![(element, past); count],
            wall: Timestamp(u64::MAX),
            now: Duration::ZERO,
        };
        let mut store = store(folder.path());
        let size = |picture| {
            store.save(&picture).unwrap();
            fs::metadata(&store.path).unwrap().len()
        };
        let (one, two) = (size(most(1)), size(most(2)));
        assert!(two - one < BYTES_PER_BAN, "{} bytes", two - one);
        for (max_bans, limit) in [(1, READ_IN_ANY_CASE), (16_777_216, 16_777_216 * BYTES_PER_BAN)] {
            assert_eq!(
                Store::new(folder.path(), &SetName::default(), max_bans).limit,
                limit
            );
        }

        store.limit = two;
        store.save(&most(2)).unwrap();
        assert!(store.load(Timestamp(WRITTEN), HOUR).trouble.is_none());
        store.limit = two - 1;
        let error = store.save(&most(2)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("no more than {} are read again", two - 1)),
            "{error}"
        );
        assert_eq!(fs::metadata(&store.path).unwrap().len(), two, "the former file");
        let trouble = store.load(Timestamp(WRITTEN), HOUR).trouble.unwrap().to_string();
        assert!(
            trouble.contains("longer than") && trouble.contains("set aside"),
            "{trouble}"
        );
    }

    #[test]
    fn a_file_without_ended_bans_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        fs::create_dir(&store.folder).unwrap();
        fs::write(
            &store.path,
            r#"{"version":1,"written":1790000000000000,"bans":[{"address":"192.0.2.1","since":1789999999000000,
            "until":1790000060000000,"duration_secs":60,"flows":1,"times":1,"technique":"dht","reason":"dht query",
            "client":null}]}"#,
        )
        .unwrap();
        let restored = store.load(Timestamp(WRITTEN), HOUR);
        assert!(restored.trouble.is_none());
        assert_eq!((restored.bans.len(), restored.past.len()), (1, 0));
    }

    #[test]
    fn a_link_in_the_folder_of_another_user_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::create_dir(&store.folder).unwrap();
        std::os::unix::fs::chown(&store.folder, Some(65_533), Some(65_532)).unwrap();
        std::os::unix::fs::symlink(&victim, store.path.with_extension("json.new")).unwrap();
        store.save(&picture()).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        let made = fs::symlink_metadata(&store.path).unwrap();
        assert_eq!((made.is_file(), made.uid(), made.gid()), (true, 65_533, 65_532));
    }

    #[test]
    fn every_cut_of_the_file_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.save(&picture()).unwrap();
        let whole = fs::read(&store.path).unwrap();
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state"), "a file").unwrap();
        let store = store(folder.path());
        let error = store.save(&picture()).unwrap_err();
        assert!(error.to_string().contains("make the folder"), "{error}");
        let error = store.forget(&[ban().0]).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
        assert_eq!(fs::read(folder.path().join("state")).unwrap(), b"a file");
    }
}
