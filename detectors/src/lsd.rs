//! Local service discovery: one text datagram to a multicast group.
//!
//! Spec: BEP 14.
//!
//! | line       | value                                       | source |
//! |------------|---------------------------------------------|--------|
//! | first      | `BT-SEARCH * HTTP/1.1`                      | BEP 14 |
//! | `Host`     | 239.192.152.143:6771 or [ff15::efc0:988f]:6771 | BEP 14 |
//! | `Port`     | 1..=65535, the TCP listening port           | BEP 14 |
//! | `Infohash` | 40 hexadecimal digits, at least one line    | BEP 14 |
//!
//! Certain: 160 fixed bits of the first line alone. Proves nobody: it is never answered and easily forged,
//! so its owner must know that the sender is directly attached, and its port is taught to nobody. Outside multicast it is strong only: other
//! programs have no reason to send it, but neither has a client. Look-alike: SSDP (`M-SEARCH`), which
//! differs in the first word.

use crate::datagram::UdpDatagram;
use crate::reported::Sink;
use crate::wire::hexadecimal;
use crate::{Confidence, Evidence, InfoHash, Technique};

const FIRST_LINE: &[u8] = b"BT-SEARCH * HTTP/1.1\r\n";

/// Inspects one datagram.
pub(crate) fn inspect(datagram: &UdpDatagram<'_>, sink: &mut Sink<'_>) {
    if !sink.options.enabled(Technique::Lsd) {
        return;
    }
    let Some(info_hash) = parse(datagram.payload) else {
        return;
    };
    let confidence = if datagram.multicast {
        Confidence::Conclusive
    } else {
        Confidence::Strong
    };
    sink.report(Evidence::new(Technique::Lsd, "search", confidence, datagram.from).of_torrent(info_hash));
}

/// First info-hash of an announcement with a port.
fn parse(bytes: &[u8]) -> Option<InfoHash> {
    let mut rest = bytes.strip_prefix(FIRST_LINE)?;
    let (mut port, mut info_hash) = (None, None);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(end)?;
        rest = after.get(1..)?;
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..)?.trim_ascii();
        if name.eq_ignore_ascii_case(b"port") {
            port = decimal(value).filter(|port| *port != 0);
        } else if name.eq_ignore_ascii_case(b"infohash") && info_hash.is_none() {
            info_hash = hexadecimal(value);
        }
    }
    port?;
    info_hash
}

fn decimal(digits: &[u8]) -> Option<u16> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}
