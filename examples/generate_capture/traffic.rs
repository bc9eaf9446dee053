//! Made-up traffic for benchmarks: the same frames on every machine, from a number.
//!
//! Conversations of several kinds run side by side, one packet of each in turn, and a new one begins where one ends.
//! Recorded conversations are played again between other addresses. Clients are in 10.0.0.0/8, servers in
//! 198.18.0.0/15 (RFC 2544). Checksums are left out: nothing here reads them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// Packets a second of the whole mix, in packet time.
const RATE: u64 = 100_000;
const START_MICROS: u64 = 1_700_000_000_000_000;

/// What conversations a capture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Long flows with large packets: TLS, QUIC, an opaque tunnel, a twentieth recorded BitTorrent.
    Bulk,
    /// Look-ups of names, HTTP requests and short TLS connections.
    Short,
    /// Recorded conversations only, most of them BitTorrent.
    Recorded,
    /// TCP flows of random bytes, which are inspected to their end.
    Opaque,
    /// Requests for TCP connections that nobody answers.
    SynFlood,
    /// Lone datagrams.
    UdpFlood,
    /// New flows that begin like BitTorrent and are not.
    Junk,
}

impl Mix {
    /// All, with their names.
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("bulk", Self::Bulk),
        ("short", Self::Short),
        ("recorded", Self::Recorded),
        ("opaque", Self::Opaque),
        ("syn-flood", Self::SynFlood),
        ("udp-flood", Self::UdpFlood),
        ("junk", Self::Junk),
    ];

    /// Kinds with their weights by number of conversations.
    const fn kinds(self) -> &'static [(Kind, u64)] {
        match self {
            Self::Bulk => &[
                (Kind::Tls(4000), 60),
                (Kind::Quic(4000), 25),
                (Kind::Opaque(4000), 10),
                (Kind::Recorded, 5),
            ],
            Self::Short => &[
                (Kind::Dns, 40),
                (Kind::Http, 25),
                (Kind::Tls(16), 33),
                (Kind::Recorded, 2),
            ],
            Self::Recorded => &[(Kind::Recorded, 1)],
            Self::Opaque => &[(Kind::Opaque(400), 1)],
            Self::SynFlood => &[(Kind::Syn, 1)],
            Self::UdpFlood => &[(Kind::Datagram, 1)],
            Self::Junk => &[(Kind::JunkTcp, 1), (Kind::JunkUdp, 2)],
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// TLS download of so many packets.
    Tls(u32),
    /// QUIC download of so many packets.
    Quic(u32),
    /// Random bytes over TCP both ways, so many packets.
    Opaque(u32),
    Dns,
    Http,
    Recorded,
    Syn,
    Datagram,
    JunkTcp,
    JunkUdp,
}

/// Microseconds since the first frame, and the frame, of a recorded conversation on Ethernet.
pub(crate) type Recording = Vec<(u64, Vec<u8>)>;

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    /// From a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// 64 uniform bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Appends uniform bytes.
    pub(crate) fn bytes(&mut self, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        while out.len() < end {
            out.extend(self.next().to_be_bytes());
        }
        out.truncate(end);
    }
}

/// The two ends of an IPv4 flow: client, server.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    /// Addresses.
    pub(crate) addresses: [[u8; 4]; 2],
    /// Ports.
    pub(crate) ports: [u16; 2],
}

impl Pair {
    /// Pair number `id`, at a port of the server: all differ, for 2^24 numbers.
    pub(crate) fn number(id: u32, server_port: u16) -> Self {
        let [_, a, b, c] = id.to_be_bytes();
        let server = id.wrapping_mul(0x9e37_79b1).to_be_bytes();
        Self {
            addresses: [[10, a, b, c], [198, 18 + (server[0] & 1), server[1], server[2]]],
            ports: [1024 + (id.wrapping_mul(40_503) >> 8) as u16 % 60_000, server_port],
        }
    }
}

/// Begins an Ethernet frame with an IPv4 header from the end `from` (0 client, 1 server).
fn ipv4(out: &mut Vec<u8>, pair: &Pair, from: usize, protocol: u8, len: usize) {
    out.clear();
    out.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
    out.extend((20 + len as u16).to_be_bytes());
    out.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    out.extend(pair.addresses[from]);
    out.extend(pair.addresses[1 - from]);
    out.extend(pair.ports[from].to_be_bytes());
    out.extend(pair.ports[1 - from].to_be_bytes());
}

/// Writes a UDP datagram.
pub(crate) fn udp(out: &mut Vec<u8>, pair: &Pair, from: usize, payload: &[u8]) {
    ipv4(out, pair, from, 17, 8 + payload.len());
    out.extend((8 + payload.len() as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
}

/// Both ends' sequence numbers of a TCP flow.
#[derive(Clone, Copy, Default)]
pub(crate) struct Numbers(pub(crate) [u32; 2]);

/// FIN.
const FIN: u8 = 1;
/// SYN.
pub(crate) const SYN: u8 = 2;
/// ACK.
pub(crate) const ACK: u8 = 16;

/// Writes a TCP segment with a timestamp option, and advances the sender's sequence number.
pub(crate) fn tcp(
    out: &mut Vec<u8>,
    pair: &Pair,
    numbers: &mut Numbers,
    from: usize,
    flags: u8,
    payload: &[u8],
) {
    ipv4(out, pair, from, 6, 32 + payload.len());
    out.extend(numbers.0[from].to_be_bytes());
    let acknowledged = if flags & ACK == 0 { 0 } else { numbers.0[1 - from] };
    out.extend(acknowledged.to_be_bytes());
    out.extend([
        0x80, flags, 255, 255, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
    ]);
    out.extend(payload);
    let syn_or_fin = u32::from(flags & (SYN | FIN) != 0);
    numbers.0[from] = numbers.0[from].wrapping_add(payload.len() as u32 + syn_or_fin);
}

struct Conversation {
    kind: Kind,
    id: u32,
    step: u32,
    pair: Pair,
    numbers: Numbers,
    recording: Option<Rc<Recording>>,
}

/// Generates the frames of a mix.
pub(crate) struct Traffic {
    mix: Mix,
    /// Microseconds between two packets of one conversation.
    gap: u64,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    conversations: Vec<Conversation>,
    recordings: Vec<Rc<Recording>>,
    random: Random,
    begun: u32,
    frame: Vec<u8>,
    payload: Vec<u8>,
}

impl Traffic {
    /// A mix with `flows` conversations at a time.
    pub(crate) fn new(mix: Mix, flows: usize, recordings: Vec<Recording>) -> Self {
        let mut traffic = Self {
            mix,
            gap: (flows as u64 * 1_000_000 / RATE).max(1),
            queue: BinaryHeap::new(),
            conversations: Vec::new(),
            recordings: recordings.into_iter().map(Rc::new).collect(),
            random: Random::new(1),
            begun: 0,
            frame: Vec::new(),
            payload: Vec::new(),
        };
        for place in 0..flows {
            let conversation = traffic.begin();
            traffic.conversations.push(conversation);
            let at = START_MICROS + traffic.random.next() % traffic.gap;
            traffic.queue.push(Reverse((at, place)));
        }
        traffic
    }

    fn begin(&mut self) -> Conversation {
        let id = self.begun;
        self.begun += 1;
        let kinds = self.mix.kinds();
        let mut left = self.random.next() % kinds.iter().map(|(_, weight)| weight).sum::<u64>();
        let kind = kinds.iter().find(|(_, weight)| {
            let here = left < *weight;
            left = left.wrapping_sub(*weight);
            here
        });
        let kind = kind.map_or(Kind::Datagram, |(kind, _)| *kind);
        let port = match kind {
            Kind::Tls(_) | Kind::Quic(_) | Kind::Syn => 443,
            Kind::Http => 80,
            Kind::Dns => 53,
            Kind::Opaque(_) | Kind::Datagram | Kind::JunkTcp | Kind::JunkUdp | Kind::Recorded => 8388,
        };
        let chosen = self.random.next() as usize % self.recordings.len().max(1);
        Conversation {
            kind,
            id,
            step: 0,
            pair: Pair::number(id, port),
            numbers: Numbers([self.random.next() as u32, self.random.next() as u32]),
            recording: self.recordings.get(chosen).cloned(),
        }
    }

    /// The next frame and its time in microseconds since 1970.
    pub(crate) fn next(&mut self) -> Option<(u64, &[u8])> {
        loop {
            let Reverse((at, place)) = self.queue.pop()?;
            let mut delay = self.gap;
            let more = {
                let (frame, payload) = (&mut self.frame, &mut self.payload);
                payload.clear();
                let conversation = &mut self.conversations[place];
                let more = conversation.write(frame, payload, &mut self.random, &mut delay);
                conversation.step += 1;
                more
            };
            self.queue.push(Reverse((at + delay, place)));
            if more {
                return Some((at, &self.frame));
            }
            self.conversations[place] = self.begin();
        }
    }
}

impl Conversation {
    /// Writes the packet of this step; `false`: the conversation is over.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        payload: &mut Vec<u8>,
        random: &mut Random,
        delay: &mut u64,
    ) -> bool {
        let (pair, step) = (self.pair, self.step);
        match self.kind {
            Kind::Recorded => return self.recorded(out, delay),
            Kind::Dns => {
                payload.extend((self.id as u16).to_be_bytes());
                let answer: &[u8] = &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
                payload.extend(if step == 0 {
                    &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
                } else {
                    answer
                });
                payload.extend(b"\x03www\x07example\x03org\0\0\x01\0\x01");
                if step == 1 {
                    payload.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 1]);
                }
                udp(out, &pair, step as usize & 1, payload);
                return step < 2;
            }
            Kind::Quic(packets) => {
                let from = usize::from(step % 8 != 0);
                let first = if step < 4 {
                    0xc3
                } else {
                    0x40 | random.next() as u8 & 0x3f
                };
                payload.extend([first, 0, 0, 0, 1]);
                random.bytes(if step < 4 || from == 1 { 1245 } else { 40 }, payload);
                udp(out, &pair, from, payload);
                return step < packets;
            }
            Kind::Datagram => {
                random.bytes(100, payload);
                udp(out, &pair, 0, payload);
                return step < 1;
            }
            Kind::JunkUdp => {
                let starts: [&[u8]; 4] = [
                    b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnop",
                    &[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 9],
                    &[0x41, 0, 7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0],
                    &[
                        0x01, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 9, 0, 16, 0, 0, 0, 2, 0, 9, 0, 0,
                    ],
                ];
                payload.extend(starts[self.id as usize % 4]);
                random.bytes(100, payload);
                udp(out, &pair, step as usize & 1, payload);
                return step < 6;
            }
            Kind::Syn => {
                tcp(out, &pair, &mut self.numbers, 0, SYN, payload);
                return step < 1;
            }
            Kind::Tls(_) | Kind::Opaque(_) | Kind::Http | Kind::JunkTcp => {}
        }
        let last = match self.kind {
            Kind::Tls(packets) | Kind::Opaque(packets) => packets,
            _ => 12,
        };
        let (from, flags) = match step {
            0 => (0, SYN),
            1 => (1, SYN | ACK),
            2 => (0, ACK),
            _ if step == last - 2 => (1, FIN | ACK),
            _ if step == last - 1 => (0, FIN | ACK),
            _ => self.stream(step - 3, payload, random),
        };
        tcp(out, &pair, &mut self.numbers, from, flags, payload);
        step < last
    }

    /// Sender, flags and payload of the packet `step` of a TCP stream: one of the client, then data of the server
    /// with an acknowledgement after every second packet.
    fn stream(&self, step: u32, payload: &mut Vec<u8>, random: &mut Random) -> (usize, u8) {
        let from = usize::from(!step.is_multiple_of(3));
        match (self.kind, step) {
            (Kind::Tls(_), 0) => {
                payload.extend(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
                random.bytes(506, payload);
            }
            (Kind::Tls(_), 1) => {
                payload.extend(b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03");
                random.bytes(1389, payload);
            }
            (Kind::Tls(_), 3) => {
                payload.extend(b"\x14\x03\x03\0\x01\x01\x17\x03\x03\0\x45");
                random.bytes(69, payload);
            }
            (Kind::Http, 0) => payload.extend(
                b"GET /images/logo.png HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux \
                  x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: image/avif,image/webp,*/*\r\n\
                  Accept-Language: en-US,en;q=0.5\r\nConnection: keep-alive\r\n\r\n",
            ),
            (Kind::Http, 1) => {
                payload.extend(
                    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\
                      Connection: keep-alive\r\n\r\n\x89PNG\r\n\x1a\n",
                );
                random.bytes(1200, payload);
            }
            (Kind::JunkTcp, 0 | 1) => {
                let starts: [&[u8]; 3] = [
                    b"\x13BitTorrent protocoL\0\0\0\0\0\x10\0\x05",
                    b"\0\0\0\x0d\x06\0\0\0\x2a\0\x01\x40\x01\0\0\x40\0\0\0\x40\x09\x07\x01",
                    b"GET /announce?info_hash=%12 HTTP/1.1\r\nHost: t\r\n",
                ];
                payload.extend(starts[self.id as usize % 3]);
                random.bytes(200, payload);
            }
            (Kind::Opaque(_), 0) => random.bytes(300, payload),
            _ if from == 1 => random.bytes(1400, payload),
            _ => {}
        }
        (from, ACK)
    }

    fn recorded(&mut self, out: &mut Vec<u8>, delay: &mut u64) -> bool {
        let Some(recording) = &self.recording else {
            return false;
        };
        let step = self.step as usize;
        let Some((at, frame)) = recording.get(step) else {
            return false;
        };
        *delay = recording
            .get(step + 1)
            .map_or(0, |(next, _)| next.saturating_sub(*at));
        out.clear();
        out.extend(frame);
        self.move_addresses(out);
        true
    }

    /// Gives every conversation networks of its own: the same change for each address of a recording.
    fn move_addresses(&self, frame: &mut [u8]) {
        let [_, a, b, c] = self.id.wrapping_add(1).to_be_bytes();
        let places: [usize; 2] = match frame.get(12..15) {
            Some([8, 0, 0x45]) => [26 + 1, 30 + 1],
            Some([0x86, 0xdd, _]) => [22 + 4, 38 + 4],
            _ => return,
        };
        for place in places {
            // Multicast groups stay what they are.
            let multicast = match place {
                27 | 31 => frame.get(place - 1).is_some_and(|first| *first >= 224),
                _ => frame.get(place - 4).is_some_and(|first| *first == 0xff),
            };
            if let Some([x, y, z]) = frame.get_mut(place..place + 3).filter(|_| !multicast) {
                (*x, *y, *z) = (*x ^ a, *y ^ b, *z ^ c);
            }
        }
    }
}
