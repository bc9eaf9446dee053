//! Writes IP packets as a pcapng file: one section with one interface of link type raw IP. (libpcap up to 1.10 refuses
//! files with several interfaces of this type.)
//!
//! Format: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3. Little endian, microseconds.

use crate::event::PacketMeta;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// LINKTYPE_RAW: the packet begins with an IPv4 or IPv6 header.
const RAW_IP: u16 = 101;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_PROGRAM: u16 = 4;
const OPTION_INTERFACE_NAME: u16 = 2;

/// Bytes that a packet of `len` captured bytes takes at most.
pub(super) const fn packet_cost(len: usize) -> usize {
    len + 35
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct PcapngFile(Vec<u8>);

impl PcapngFile {
    /// With a comment on the whole, and the name of the interface.
    pub(super) fn new(comment: &str, interface: &str) -> Self {
        let mut file = Self(Vec::new());
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend([1_u16.to_le_bytes(), 0_u16.to_le_bytes()].concat());
        // The length of the section is left open.
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, OPTION_COMMENT, comment);
        option(
            &mut body,
            OPTION_PROGRAM,
            concat!("btblocker ", env!("CARGO_PKG_VERSION")),
        );
        option(&mut body, OPTION_END, "");
        file.block(SECTION, &body);
        let mut body = Vec::new();
        body.extend([RAW_IP.to_le_bytes(), 0_u16.to_le_bytes()].concat());
        // No limit of the captured length.
        body.extend(0_u32.to_le_bytes());
        option(&mut body, OPTION_INTERFACE_NAME, interface);
        option(&mut body, OPTION_END, "");
        file.block(INTERFACE, &body);
        file
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends a packet.
    pub(super) fn packet(&mut self, meta: &PacketMeta, bytes: &[u8]) {
        let [high, low] = [meta.at.0 >> 32, meta.at.0 & 0xffff_ffff].map(|half| half as u32);
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut body = Vec::with_capacity(packet_cost(bytes.len()));
        for field in [0, high, low, captured, meta.wire_len.max(captured)] {
            body.extend(field.to_le_bytes());
        }
        body.extend_from_slice(bytes);
        pad(&mut body);
        self.block(ENHANCED_PACKET, &body);
    }

    /// The file's bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let total = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
        self.0.extend(kind.to_le_bytes());
        self.0.extend(total);
        self.0.extend_from_slice(body);
        self.0.extend(total);
    }
}

fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    let text = text.as_bytes();
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend_from_slice(&text[..usize::from(len)]);
    pad(body);
}

/// Everything begins at a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use btblocker_detectors::Timestamp;

    fn read(path: &Path) -> Vec<(i64, u32, Vec<u8>)> {
        let mut capture = pcap::Capture::from_file(path).unwrap();
        assert_eq!(capture.get_datalink().0, 12, "raw IP, by its DLT number");
        let mut read = Vec::new();
        loop {
            let packet = match capture.next_packet() {
                Ok(packet) => packet,
                Err(pcap::Error::NoMorePackets) => return read,
                Err(error) => panic!("{error}"),
            };
            let micros = packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec;
            read.push((micros, packet.header.len, packet.data.to_vec()));
        }
    }

    #[test]
    fn what_is_written_is_read_by_libpcap() {
        let at = 1_790_000_000_123_456;
        let mut file = PcapngFile::new("banned: déjà vu", "wg0");
        let mut expected = Vec::new();
        for (number, len) in [0_u32, 1, 2, 3, 1_000].into_iter().enumerate() {
            let before = file.len();
            let meta = PacketMeta {
                at: Timestamp(at + number as u64),
                order: 0,
                wire_len: 1_400,
            };
            let bytes = vec![number as u8; len as usize];
            file.packet(&meta, &bytes);
            assert!(file.len() - before <= packet_cost(bytes.len()));
            expected.push(((at + number as u64) as i64, 1_400, bytes));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.pcapng");
        std::fs::write(&path, file.into_bytes()).unwrap();
        assert_eq!(read(&path), expected);
    }
}
