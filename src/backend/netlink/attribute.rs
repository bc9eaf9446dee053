//! Writes and reads netlink attributes: `u16` length, `u16` kind, value, padded to 4 bytes; lengths and
//! kinds in host byte order (`linux/netlink.h`).

use nftnl::nftnl_sys::libc;

/// Bytes of `nlmsghdr`.
pub(super) const HEADER_LEN: usize = 16;
/// Bytes of `nfgenmsg`, which follows it.
const FAMILY_HEADER_LEN: usize = 4;
/// Bytes of an attribute's header.
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// The bits of a kind that are no flags (`NLA_TYPE_MASK`).
const KIND_MASK: u16 = 0x3fff;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// One netfilter netlink message that is being written.
#[derive(Debug)]
pub(in crate::backend) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message for `subsystem` (`NFNL_SUBSYS_*`); `flags` are added to `NLM_F_REQUEST | NLM_F_ACK`, `family`
    /// is an `NFPROTO_*`.
    pub(in crate::backend) fn new(subsystem: i32, command: u16, flags: i32, family: u8) -> Self {
        let kind = (subsystem as u16) << 8 | command;
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[family, 0, 0, 0]);
        Self { bytes }
    }

    /// Asks for no acknowledgement: a question that is answered with one message or with an error.
    pub(in crate::backend) fn without_ack(mut self) -> Self {
        let flags = (libc::NLM_F_REQUEST as u16).to_ne_bytes();
        if let Some(field) = self.bytes.get_mut(6..8) {
            field.copy_from_slice(&flags);
        }
        self
    }

    /// Appends one attribute.
    pub(in crate::backend) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest_as(kind, |message| message.bytes.extend_from_slice(value))
    }

    /// Appends a name with its terminating zero.
    pub(in crate::backend) fn put_name(&mut self, kind: u16, name: &str) -> &mut Self {
        self.nest_as(kind, |message| {
            message.bytes.extend_from_slice(name.as_bytes());
            message.bytes.push(0);
        })
    }

    /// Appends an attribute that holds the attributes that `fill` appends.
    pub(in crate::backend) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_as(kind | NESTED, fill)
    }

    fn nest_as(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        // A value that does not fit is announced too short; the kernel refuses such a message as a whole.
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        self
    }

    /// The message with its length and sequence number filled in.
    pub(in crate::backend) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.first_chunk_mut::<4>() {
            *field = len.to_ne_bytes();
        }
        if let Some(field) = self.bytes.get_mut(8..12) {
            field.copy_from_slice(&sequence.to_ne_bytes());
        }
        self.bytes
    }
}

/// The attributes in a run of bytes, in order; stops at the first that is cut off.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Of the value of a nested attribute.
    pub(in crate::backend) fn of(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// Of a whole netfilter message.
    pub(super) fn of_message(message: &'a [u8]) -> Self {
        Self(message.get(HEADER_LEN + FAMILY_HEADER_LEN..).unwrap_or_default())
    }

    /// Value of the first attribute of `kind`.
    pub(in crate::backend) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = self.0.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
        let [len_0, len_1, kind_0, kind_1] = *header;
        let len = usize::from(u16::from_ne_bytes([len_0, len_1]));
        let value = self.0.get(ATTRIBUTE_HEADER_LEN..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([kind_0, kind_1]) & KIND_MASK, value))
    }
}

/// Value of the first attribute of `kind` within `value`.
pub(in crate::backend) fn find(value: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes::of(value).find(kind)
}

/// Value of the attribute reached through nested ones.
pub(in crate::backend) fn find_path<'a>(value: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter().try_fold(value, |value, kind| find(value, *kind))
}

/// A big-endian number of 4 bytes.
pub(in crate::backend) fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A name up to its terminating zero.
pub(in crate::backend) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut message = Message::new(libc::NFNL_SUBSYS_IPSET, 7, libc::NLM_F_DUMP, 2);
        message.put_name(2, "torrent").nest(7, |data| {
            data.put(6, &18_000_u32.to_be_bytes()).put(3, &[24]);
        });
        let bytes = message.finish(9);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[..4], (bytes.len() as u32).to_ne_bytes());
        assert_eq!(bytes[4..6], (6_u16 << 8 | 7).to_ne_bytes());
        assert_eq!(bytes[8..12], 9_u32.to_ne_bytes());
        let attributes = Attributes::of_message(&bytes);
        assert_eq!(attributes.find(2).and_then(text), Some("torrent"));
        let data = attributes.find(7).unwrap();
        assert_eq!(find(data, 6).and_then(be32), Some(18_000));
        assert_eq!(find(data, 3), Some(&[24][..]));
        assert_eq!(find_path(&bytes[20..], &[7, 3]), Some(&[24][..]));
        assert_eq!(find(data, 5), None);
    }

    #[test]
    fn attributes_that_are_cut_off_end_the_walk() {
        let whole = {
            let mut message = Message::new(libc::NFNL_SUBSYS_IPSET, 7, 0, 2);
            message.put(1, &[7]).put(2, &[1, 2, 3, 4, 5]);
            message.finish(0)
        };
        for len in 0..whole.len() {
            assert!(Attributes::of_message(&whole[..len]).count() <= 2, "{len} bytes");
        }
        assert_eq!(
            Attributes::of(&[3, 0, 1, 0]).next(),
            None,
            "shorter than its own header"
        );
        assert_eq!(Attributes::of(&[0, 0, 0, 0]).next(), None, "length zero");
        assert_eq!(
            Attributes::of(&[255, 255, 0, 0]).next(),
            None,
            "longer than the message"
        );
    }
}
