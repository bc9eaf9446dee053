//! TCP and UDP headers.

use super::{Skip, TcpView, TransportView, UdpView, ip, span::Span};
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;

/// Source port, destination port and the transport header with its payload.
pub(super) type Segment<'a> = (u16, u16, TransportView<'a>);

/// Reads the header of `protocol`. `first` says that the payload is the first fragment of a datagram and
/// shorter than the UDP header declares.
pub(super) fn read(protocol: u8, payload: Span<'_>, first: bool) -> Result<Segment<'_>, Skip> {
    match protocol {
        ip::TCP => tcp(payload),
        ip::UDP => {
            let (source, destination, body) = udp(payload, first)?;
            let view = UdpView {
                payload: body.bytes(),
                wire_len: body.wire(),
            };
            Ok((source, destination, TransportView::Udp(view)))
        }
        _ => Err(Skip::NotTransport),
    }
}

/// Largest shift of a window (RFC 7323 section 2.3).
const MAX_WINDOW_SCALE: u8 = 14;

fn tcp(segment: Span<'_>) -> Result<Segment<'_>, Skip> {
    let view = TcpPacket::new(segment.bytes()).ok_or(Skip::TruncatedTransport)?;
    let header = usize::from(view.get_data_offset()) * 4;
    if header < TcpPacket::minimum_packet_size() || (header as u64) > u64::from(segment.wire()) {
        return Err(Skip::BadTransport);
    }
    let payload = segment.after(header).ok_or(Skip::TruncatedTransport)?;
    let tcp = TcpView {
        sequence: view.get_sequence(),
        acknowledgement: view.get_acknowledgement(),
        window: view.get_window(),
        window_scale: window_scale(view.get_flags(), view.get_options_raw()),
        flags: view.get_flags() & 0x3f,
        payload: payload.bytes(),
        wire_len: payload.wire(),
    };
    Ok((view.get_source(), view.get_destination(), TransportView::Tcp(tcp)))
}

/// The window scale that a SYN with these options names.
pub(super) fn window_scale(flags: u8, mut options: &[u8]) -> Option<u8> {
    const SYN: u8 = 2;
    if flags & SYN == 0 {
        return None;
    }
    loop {
        options = match *options {
            // Nothing, the end, or an option whose length is none: no step forward.
            [] | [0, ..] | [2..=u8::MAX, 0 | 1, ..] | [2..=u8::MAX] => return None,
            [1, ref rest @ ..] => rest,
            [3, 3, shift, ..] => return Some(shift.min(MAX_WINDOW_SCALE)),
            [_, length, ..] => options.get(usize::from(length)..)?,
        };
    }
}

/// Source port, destination port and payload.
pub(super) fn udp(datagram: Span<'_>, first: bool) -> Result<(u16, u16, Span<'_>), Skip> {
    let view = UdpPacket::new(datagram.bytes()).ok_or(Skip::TruncatedTransport)?;
    // Zero means a jumbogram (RFC 2675 section 4) or segmentation offload.
    let len = match u32::from(view.get_length()) {
        0 => datagram.wire(),
        len => len,
    };
    if len < UdpPacket::minimum_packet_size() as u32 || (len > datagram.wire() && !first) {
        return Err(Skip::BadTransport);
    }
    let payload = datagram
        .declared(len)
        .after(UdpPacket::minimum_packet_size())
        .ok_or(Skip::TruncatedTransport)?;
    Ok((view.get_source(), view.get_destination(), payload))
}
