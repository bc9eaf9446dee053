//! Evidence files: for each ban the packets that led to it, as a small pcapng file that `btblocker replay` judges
//! again, so that a wrong ban can be understood and reported.
//!
//! A file holds the packets, from the first of the flow to the one that decided, of the flow that the ban is for, and
//! of the host's other flows that gave evidence, the latest first as far as the size allows. Link headers are left
//! out: the packets may come from interfaces of several link types, and libpcap reads only one in a file. Packets that
//! came long before the evidence, when the worker had many undecided flows, may be missing (see
//! [`Packets`](crate::event::Packets)).
//!
//! Files are named by time and host, `ban-20261121T055131.000001Z-10.8.0.7.pcapng`; only files named so are ever
//! removed, oldest first. They are readable by their owner only: they hold what people sent.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use log::{error, info};

use super::pcapng::{PcapngFile, packet_cost};
use crate::event::{self, Chunk, PacketMeta};
use btblocker_detectors::Timestamp;

/// Files that wait for the disk at most.
const QUEUE: usize = 16;

/// What evidence files are made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceOptions {
    /// Where they lie. Made when it is missing.
    pub folder: PathBuf,
    /// Bytes of one file at most.
    pub max_size: usize,
    /// Files that are kept.
    pub keep: usize,
}

/// What one file is about.
#[derive(Clone, Copy, Debug)]
pub struct Exhibit<'a> {
    /// When the ban was decided.
    pub at: Timestamp,
    /// The banned host.
    pub host: IpAddr,
    /// Why.
    pub reason: &'a str,
    /// Where the evidence that decided was seen.
    pub interface: &'a str,
}

struct Order {
    name: String,
    bytes: Vec<u8>,
}

/// The thread that writes evidence files, and the way to it.
#[derive(Debug)]
pub struct EvidenceFiles {
    max_size: usize,
    queue: Sender<Order>,
    dropped: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl EvidenceFiles {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had. A folder that cannot be written to is an error line, not an error.
    pub fn start(options: EvidenceOptions) -> io::Result<Self> {
        let (queue, orders) = crossbeam_channel::bounded(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let max_size = options.max_size;
        let writer = Writer {
            options,
            lost: 0,
            dropped: Arc::clone(&dropped),
        };
        let thread = std::thread::Builder::new()
            .name("evidence".to_owned())
            .spawn(move || writer.run(&orders))?;
        Ok(Self {
            max_size,
            queue,
            dropped,
            thread,
        })
    }

    /// Hands over what led to a ban, the most important chunks first; drops it when too many files wait. Without
    /// packets there is no file.
    pub fn write<'c>(&self, exhibit: &Exhibit<'_>, chunks: impl Iterator<Item = &'c Chunk>) {
        let Some(bytes) = compose(exhibit, chunks, self.max_size) else {
            return;
        };
        let order = Order {
            name: name(exhibit),
            bytes,
        };
        if self.queue.try_send(order).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Files that were not written: too many waited, or the disk refused.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits, and ends.
    pub fn finish(self) {
        drop(self.queue);
        if self.thread.join().is_err() {
            error!("the thread of the evidence files panicked");
        }
    }
}

/// The file as a whole, of at most `max_size` bytes; `None` without packets.
fn compose<'c>(
    exhibit: &Exhibit<'_>,
    chunks: impl Iterator<Item = &'c Chunk>,
    max_size: usize,
) -> Option<Vec<u8>> {
    let comment = format!(
        "{} banned: {}. `btblocker replay` judges this file.",
        exhibit.host, exhibit.reason
    );
    let mut file = PcapngFile::new(&comment, exhibit.interface);
    let mut size = file.len();
    let mut packets: Vec<(PacketMeta, &[u8])> = Vec::new();
    for chunk in chunks {
        let cost: usize = chunk.packets().map(|(_, bytes)| packet_cost(bytes.len())).sum();
        if size + cost > max_size {
            break;
        }
        size += cost;
        packets.extend(chunk.packets());
    }
    packets.sort_by_key(|(meta, _)| (meta.at, meta.order));
    for (meta, bytes) in &packets {
        file.packet(meta, bytes);
    }
    (!packets.is_empty()).then(|| file.into_bytes())
}

const PREFIX: &str = "ban-";
const SUFFIX: &str = ".pcapng";

/// Times sort as their names do; `:` is no part of a file's name everywhere.
fn name(exhibit: &Exhibit<'_>) -> String {
    let time = event::rfc3339(exhibit.at).replace(['-', ':'], "");
    let host = exhibit.host.to_string().replace(':', "_");
    format!("{PREFIX}{time}-{host}{SUFFIX}")
}

struct Writer {
    options: EvidenceOptions,
    /// Files that were refused since the last one that was written.
    lost: u64,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        // Whoever names a folder that cannot be written is told before evidence is lost.
        if let Err(error) = self.prepare() {
            let folder = self.options.folder.display();
            error!("{folder}: evidence files cannot be written: {error}");
        }
        for order in orders {
            let folder = self.options.folder.display();
            match self.write(&order).and_then(|()| self.prune()) {
                Ok(()) if self.lost > 0 => {
                    info!(
                        "{folder}: written again, {} evidence files are missing",
                        self.lost
                    );
                    self.lost = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    if self.lost == 0 {
                        error!("{folder}: evidence files cannot be written: {error}");
                    }
                    self.lost += 1;
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Makes the folder where it is missing, and a file in it, which goes again.
    fn prepare(&self) -> io::Result<()> {
        let folder = &self.options.folder;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(format!(".check-{}", std::process::id()));
        OpenOptions::new().write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)
    }

    fn write(&self, order: &Order) -> io::Result<()> {
        let Self { options, .. } = self;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.folder)?;
        let path = options.folder.join(&order.name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&order.bytes).inspect_err(|_| {
            // A part of a file is of no use; if it stays, pruning removes it some day.
            let _ = fs::remove_file(&path);
        })
    }

    /// Removes the oldest files beyond those that are kept.
    fn prune(&self) -> io::Result<()> {
        let mut files = evidence_files(&self.options.folder)?;
        files.sort_unstable();
        let surplus = files.len().saturating_sub(self.options.keep);
        files.iter().take(surplus).try_for_each(fs::remove_file)
    }
}

/// Files in the folder that are named as evidence files are.
fn evidence_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
        {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::event::{PacketSender, Packets, packets};
    use crate::judge::FlowId;
    use btblocker_detectors::{Endpoint, Transport};

    const HOST: [u8; 4] = [10, 8, 0, 7];

    fn flow(port: u16) -> FlowId {
        FlowId {
            transport: Transport::Udp,
            originator: Endpoint::new(HOST.into(), port),
            responder: Endpoint::new([192, 0, 2, 2].into(), 6881),
        }
    }

    fn send(sender: &PacketSender, port: u16, at: u64, bytes: &[u8]) {
        let mut chunk = sender.chunk(flow(port)).unwrap();
        let meta = PacketMeta {
            at: Timestamp(at),
            order: 0,
            wire_len: 0,
        };
        assert!(chunk.push(meta, bytes));
        sender.send(chunk);
    }

    fn write(files: &EvidenceFiles, packets: &Packets, second: u64) {
        let exhibit = Exhibit {
            at: Timestamp(1_790_000_000_000_000 + second * 1_000_000),
            host: HOST.into(),
            reason: "a test",
            interface: "wg0",
        };
        files.write(&exhibit, packets.of(HOST.into(), &flow(1)));
    }

    fn options(folder: &Path) -> EvidenceOptions {
        EvidenceOptions {
            folder: folder.to_owned(),
            max_size: 4_096,
            keep: 2,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_few_small_and_private_and_strangers_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("below/evidence");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mine.pcapng"), "mine").unwrap();
        let (sender, mut packets) = packets(8);
        // The flow of the ban counts first; a later chunk of another one does not fit beside it.
        send(&sender, 1, 7, &[1; 3_000]);
        send(&sender, 2, 8, &[2; 3_000]);
        packets.hear();
        let files = EvidenceFiles::start(options(&folder)).unwrap();
        for second in [30, 10, 20] {
            write(&files, &packets, second);
        }
        files.finish();
        assert_eq!(
            names(&folder),
            [
                "ban-20260921T141340.000000Z-10.8.0.7.pcapng",
                "ban-20260921T141350.000000Z-10.8.0.7.pcapng",
                "mine.pcapng"
            ]
        );
        let path = folder.join("ban-20260921T141350.000000Z-10.8.0.7.pcapng");
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.len() <= 4_096);
        let mut capture = pcap::Capture::from_file(&path).unwrap();
        assert_eq!(capture.next_packet().unwrap().data, [1; 3_000]);
        assert!(capture.next_packet().is_err());
    }

    #[test]
    fn packets_stand_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut packets) = packets(8);
        for (port, at) in [(1, 5), (2, 4), (1, 9), (2, 6)] {
            send(&sender, port, at, &[at as u8]);
        }
        packets.hear();
        let files = EvidenceFiles::start(options(folder.path())).unwrap();
        write(&files, &packets, 0);
        files.finish();
        let path = folder.path().join(&names(folder.path())[0]);
        let mut capture = pcap::Capture::from_file(path).unwrap();
        let order: Vec<u8> = std::iter::from_fn(|| capture.next_packet().ok().map(|p| p.data[0])).collect();
        assert_eq!(order, [4, 5, 6, 9]);
    }

    #[test]
    fn a_folder_that_refuses_is_survived_and_counted() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("taken");
        fs::write(&folder, "no folder").unwrap();
        let (sender, mut packets) = packets(8);
        send(&sender, 1, 7, b"packet");
        packets.hear();
        let files = EvidenceFiles::start(options(&folder)).unwrap();
        write(&files, &packets, 1);
        write(&files, &packets, 2);
        let deadline = Instant::now() + Duration::from_secs(10);
        while files.dropped() < 2 {
            assert!(Instant::now() < deadline, "both files are counted");
            std::thread::yield_now();
        }
        fs::remove_file(&folder).unwrap();
        write(&files, &packets, 3);
        files.finish();
        assert_eq!(names(&folder).len(), 1);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
