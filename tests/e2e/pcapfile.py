"""Capture files of the classic pcap format: read, trimmed to the first packets of every flow, and written again."""

import ipaddress
import struct
from dataclasses import dataclass, replace
from pathlib import Path

EN10MB, RAW = 1, 101
MAX_FILE_BYTES = 60_000
ETHERTYPES = {0x0800: 4, 0x86DD: 6}
PROTOCOLS = {6: "tcp", 17: "udp"}


@dataclass
class Frame:
    """One captured frame with the file's own 16-byte record header."""

    header: bytes
    data: bytes
    flow: tuple | None  # (protocol, lower end, higher end), ends as (address, port)
    first_end: tuple | None  # the end that sent this frame
    has_payload: bool


def dissect(link: int, data: bytes) -> tuple:
    """Flow, sending end and whether there is payload; (None, None, False) for what is not TCP or UDP."""
    packet = data[14:] if link == EN10MB else data
    if link == EN10MB and struct.unpack("!H", data[12:14])[0] not in ETHERTYPES:
        return None, None, False
    if packet[0] >> 4 == 4:
        protocol, length = packet[9], (packet[0] & 15) * 4
        source, target, end = packet[12:16], packet[16:20], struct.unpack("!H", packet[2:4])[0]
        if struct.unpack("!H", packet[6:8])[0] & 0x1FFF:  # a later fragment has no ports
            return None, None, False
    else:
        protocol, length = packet[6], 40
        source, target, end = packet[8:24], packet[24:40], 40 + struct.unpack("!H", packet[4:6])[0]
    if protocol not in PROTOCOLS:
        return None, None, False
    segment = packet[length:end]
    ports = struct.unpack("!HH", segment[:4])
    head = (segment[12] >> 4) * 4 if protocol == 6 else 8
    near, far = (ipaddress.ip_address(source), ports[0]), (ipaddress.ip_address(target), ports[1])
    return (PROTOCOLS[protocol], *sorted((near, far), key=lambda e: (e[0].packed, e[1]))), near, len(segment) > head


def read(path: Path) -> tuple[bytes, list[Frame]]:
    """File header and frames of a capture."""
    content = path.read_bytes()
    link = struct.unpack("<I", content[20:24])[0] & 0xFFFF
    frames, at = [], 24
    while at + 16 <= len(content):
        length = struct.unpack("<I", content[at + 8 : at + 12])[0]
        data = content[at + 16 : at + 16 + length]
        frames.append(Frame(content[at : at + 16], data, *dissect(link, data)))
        at += 16 + length
    return content[:24], frames


def cut(frame: Frame, most: int) -> Frame:
    """The frame with at most so many of its bytes; its header still tells its size on the wire."""
    data = frame.data[:most]
    header = frame.header[:8] + struct.pack("<I", len(data)) + frame.header[12:]
    return replace(frame, header=header, data=data)


def trim(source: Path, target: Path, frame_bytes: int) -> list[tuple]:
    """Writes the beginnings of the first packets of every flow, as many of each as the size limit lets; returns its flows
    that carry payload, as (protocol, end that sent first, other end)."""
    header, frames = read(source)
    frames = [cut(frame, frame_bytes) for frame in frames]

    def kept(most: int) -> list[Frame]:
        seen: dict = {}
        chosen = []
        for frame in frames:
            seen[frame.flow] = seen.get(frame.flow, 0) + 1
            if frame.flow and seen[frame.flow] <= most:
                chosen.append(frame)
        return chosen

    most = 1_000
    while sum(16 + len(frame.data) for frame in kept(most)) + 24 > MAX_FILE_BYTES and most > 1:
        most -= 1
    chosen = kept(most)
    target.write_bytes(header + b"".join(frame.header + frame.data for frame in chosen))
    first_sender: dict = {}
    for frame in chosen:
        first_sender.setdefault(frame.flow, frame.first_end)
    flows = []
    for flow, opener in first_sender.items():
        if any(frame.flow == flow and frame.has_payload for frame in chosen):
            flows.append((flow[0], opener, flow[2] if flow[1] == opener else flow[1]))
    return flows
