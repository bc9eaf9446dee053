//! The detection log: what was recognised, with the bytes that show it, for those who look into a wrong ban.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use log::{error, info};

use super::detection::Detection;
use super::rotation::{RotatedFile, Rotation};
use super::{LineFormat, detection_text};
use crate::event::{InfoHashes, SampleHome};

/// Detections that wait for the disk at most.
const QUEUE: usize = 1_024;

/// What the log is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionLogOptions {
    /// The file.
    pub path: PathBuf,
    /// Blocks for people, or JSON Lines.
    pub format: LineFormat,
    /// Whether JSON has the payload, too.
    pub payload: bool,
    /// How info-hashes are shown.
    pub info_hashes: InfoHashes,
    /// When files are rotated.
    pub rotation: Rotation,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every order is a detection; a box would be an allocation for each"
)]
enum Order {
    Write(Detection),
    /// Open the file by its name again, with these options.
    Reopen(DetectionLogOptions),
}

/// The log's thread and the way to it.
#[derive(Debug)]
pub struct DetectionLog {
    queue: Sender<Order>,
    home: SampleHome,
    dropped: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl DetectionLog {
    /// Starts the thread. Used samples go to `home`.
    ///
    /// # Errors
    /// When there is no thread to be had. A file that cannot be opened is an error line, not an error.
    pub fn start(options: DetectionLogOptions, home: SampleHome) -> std::io::Result<Self> {
        let (queue, orders) = crossbeam_channel::bounded(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let writer = Writer {
            file: RotatedFile::new(&options.path, options.rotation),
            options,
            home: home.clone(),
            lost: 0,
            dropped: Arc::clone(&dropped),
        };
        let thread = std::thread::Builder::new()
            .name("detection-log".to_owned())
            .spawn(move || writer.run(&orders))?;
        Ok(Self {
            queue,
            home,
            dropped,
            thread,
        })
    }

    /// Hands an entry over; drops it when too many wait.
    pub fn write(&self, detection: Detection) {
        if let Err(refused) = self.queue.try_send(Order::Write(detection)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if let Order::Write(Detection {
                sample: Some(sample), ..
            }) = refused.into_inner()
            {
                let _ = self.home.try_send(sample);
            }
        }
    }

    /// Opens the file by its name again, after what waits was written. `false`: too much waits, ask again.
    pub fn reopen(&self, options: DetectionLogOptions) -> bool {
        self.queue.try_send(Order::Reopen(options)).is_ok()
    }

    /// Entries that were not written: the queue was full, or the disk refused.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends.
    pub fn finish(self) {
        drop(self.queue);
        if self.thread.join().is_err() {
            error!("the thread of the detection log panicked");
        }
    }
}

struct Writer {
    options: DetectionLogOptions,
    file: RotatedFile,
    home: SampleHome,
    /// Entries that were refused since the last one that was written.
    lost: u64,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        self.prepare();
        for order in orders {
            match order {
                Order::Write(detection) => {
                    self.write(&detection);
                    if let Some(sample) = detection.sample {
                        let _ = self.home.try_send(sample);
                    }
                }
                Order::Reopen(options) if options == self.options => self.file.reopen(),
                Order::Reopen(options) => {
                    self.file = RotatedFile::new(&options.path, options.rotation);
                    self.options = options;
                    self.prepare();
                }
            }
        }
    }

    /// Whoever names a file that cannot be written is told before a detection is lost.
    fn prepare(&self) {
        if let Err(error) = self.file.prepare() {
            error!(
                "{}: detections cannot be written: {error}",
                self.options.path.display()
            );
        }
    }

    fn write(&mut self, detection: &Detection) {
        let entry = match self.options.format {
            LineFormat::Text => detection_text::block(detection, &self.options.info_hashes),
            LineFormat::Json => {
                detection_text::json_line(detection, &self.options.info_hashes, self.options.payload)
            }
        };
        let path: &Path = &self.options.path;
        match self.file.append(entry.as_bytes()) {
            Ok(()) if self.lost > 0 => {
                info!(
                    "{}: written again, {} detections are missing",
                    path.display(),
                    self.lost
                );
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    error!("{}: detections cannot be written: {error}", path.display());
                }
                self.lost += 1;
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::detection::example;
    use super::*;
    use crate::event::ShowInfoHash;

    fn options(path: PathBuf) -> DetectionLogOptions {
        DetectionLogOptions {
            path,
            format: LineFormat::Json,
            payload: true,
            info_hashes: InfoHashes::new(ShowInfoHash::Plain),
            rotation: Rotation {
                max_size: 1 << 20,
                keep: 1,
            },
        }
    }

    fn wait_for_drops(log: &DetectionLog, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while log.dropped() < count {
            assert!(Instant::now() < deadline, "{count} entries are counted");
            std::thread::yield_now();
        }
    }

    #[test]
    fn entries_are_written_in_order_and_buffers_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (home, returned) = crossbeam_channel::bounded(10);
        let log = DetectionLog::start(options(path.clone()), home).unwrap();
        for number in 0..5_u8 {
            log.write(example(&[number]));
        }
        log.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        let payloads: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"].clone())
            .collect();
        assert_eq!(payloads, ["00", "01", "02", "03", "04"]);
        assert_eq!(returned.len(), 5);
    }

    #[test]
    fn a_disk_that_refuses_is_survived_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let (home, _returned) = crossbeam_channel::bounded(10);
        let log = DetectionLog::start(options(missing.join("log")), home).unwrap();
        log.write(example(b"lost"));
        log.write(example(b"lost"));
        wait_for_drops(&log, 2);
        std::fs::create_dir(&missing).unwrap();
        log.write(example(b"kept"));
        log.finish();
        let text = std::fs::read_to_string(missing.join("log")).unwrap();
        assert_eq!(text.lines().count(), 1);
        // A full disk refuses the write, not the opening.
        let (home, _returned) = crossbeam_channel::bounded(10);
        let log = DetectionLog::start(options("/dev/full".into()), home).unwrap();
        log.write(example(b"lost"));
        wait_for_drops(&log, 1);
        log.finish();
    }

    #[test]
    fn reopening_takes_new_options() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let (home, _returned) = crossbeam_channel::bounded(10);
        let log = DetectionLog::start(options(one.clone()), home).unwrap();
        log.write(example(b"1"));
        assert!(log.reopen(DetectionLogOptions {
            format: LineFormat::Text,
            ..options(two.clone())
        }));
        log.write(example(b"2"));
        log.finish();
        let (one, two) = (
            std::fs::read_to_string(one).unwrap(),
            std::fs::read_to_string(two).unwrap(),
        );
        assert!(one.starts_with('{') && one.lines().count() == 1, "{one}");
        assert!(two.starts_with("2023-") && two.contains("|2|"), "{two}");
    }
}
