//! A file that is appended to, of bounded size, with a bounded number of older ones behind it.
//!
//! `name` is written, `name.1` is the youngest old one. Files that this makes are readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How large files grow and how many stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Size in bytes that a file does not exceed, but for one entry that is larger by itself.
    pub max_size: u64,
    /// Old files that are kept.
    pub keep: u32,
}

/// The file being written.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<(File, u64)>,
}

impl RotatedFile {
    /// Nothing is kept open before the first write.
    pub(super) fn new(path: &Path, rotation: Rotation) -> Self {
        Self {
            path: path.to_owned(),
            rotation,
            open: None,
        }
    }

    /// Opens the file and closes it again, so that trouble with it is known before there is something to write.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.open().map(drop)
    }

    /// Opens the file by its name at the next write: somebody may have moved it away.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Appends a whole entry. After an error the file is opened anew at the next one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        let (mut file, size) = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let entry_size = entry.len() as u64;
        let mut size = size;
        if size > 0 && size.saturating_add(entry_size) > self.rotation.max_size && file.metadata()?.is_file()
        {
            drop(file);
            self.rotate()?;
            (file, size) = self.open()?;
        }
        file.write_all(entry)?;
        self.open = Some((file, size + entry_size));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&self) -> io::Result<()> {
        if self.rotation.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.rotation.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn files_stay_small_and_few() {
        for (keep, files) in [
            (0, &["log"][..]),
            (1, &["log", "log.1"]),
            (2, &["log", "log.1", "log.2"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut file = RotatedFile::new(&path, Rotation { max_size: 10, keep });
            for number in 0..9 {
                file.append(format!("entry{number}").as_bytes()).unwrap();
            }
            file.append(b"much too large for one file").unwrap();
            assert_eq!(names(folder.path()), files);
            assert_eq!(fs::read(&path).unwrap(), b"much too large for one file");
            if keep > 0 {
                assert_eq!(fs::read(folder.path().join("log.1")).unwrap(), b"entry8");
            }
        }
    }

    #[test]
    fn files_are_private_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let rotation = Rotation {
            max_size: 10,
            keep: 1,
        };
        RotatedFile::new(&path, rotation).append(b"12345").unwrap();
        RotatedFile::new(&path, rotation).append(b"67890").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1234567890");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("moved"));
        let rotation = Rotation {
            max_size: 100,
            keep: 1,
        };
        let mut file = RotatedFile::new(&path, rotation);
        file.append(b"one").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.append(b"two").unwrap();
        file.reopen();
        file.append(b"three").unwrap();
        assert_eq!(
            (fs::read(&moved).unwrap(), fs::read(&path).unwrap()),
            (b"onetwo".to_vec(), b"three".to_vec())
        );
    }
}
