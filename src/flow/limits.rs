//! Every number of the flow table, with its reason.

/// A UDP flow without packets ends. Linux keeps UDP streams for 120 s; uTP sends a keep-alive every 29 s and DHT
/// clients come back to a node after minutes, so this leaves room for a lost one.
pub const UDP_IDLE_MICROS: u64 = 180_000_000;
/// An idle TCP flow ends. BitTorrent clients close connections that are silent for 120 s (BEP 3, keep-alives).
pub const TCP_IDLE_MICROS: u64 = 600_000_000;
/// A TCP flow that carried no payload and has no complete handshake: scans and floods. Clients repeat an
/// unanswered SYN after 1, 3, 7 and 15 s.
pub const TCP_HALF_OPEN_MICROS: u64 = 20_000_000;
/// A TCP flow after both FINs, or a reset while its ends are not proven; long enough for stragglers, which would make a flow
/// of their own. After a reset on a proven flow, which the other end may have ignored, the flow is only the first to give way.
pub const TCP_CLOSED_MICROS: u64 = 10_000_000;
/// The shortest of these: a flow that was silent for less is alive.
pub const SHORTEST_IDLE_MICROS: u64 = TCP_CLOSED_MICROS;
/// So long after one of its packets, packets of a settled flow may end in the kernel. Less than any flow that was silent
/// takes to end, and packet time may run somewhat faster than the kernel's.
pub const EARLY_EXIT_MICROS: u64 = 8_000_000;
const _: () = assert!(EARLY_EXIT_MICROS < SHORTEST_IDLE_MICROS);
/// The kernel is told of a settled flow once in so many of its packets: most flows never have so many, and one that
/// goes on needs no more than two of them in [`EARLY_EXIT_MICROS`].
pub const EARLY_EXIT_STEP: u64 = 8;
/// A SYN with another sequence number on a flow that was silent for so long, and of which only one direction was captured,
/// begins a new flow: its end may have been in the other. Where both were, the answer to the SYN begins it.
pub const REUSE_IDLE_MICROS: u64 = 10_000_000;
/// A flow that is silent for so long loses its stream buffers: the flights of a handshake follow each other
/// within seconds, and buffers are few.
pub const BUFFERS_IDLE_MICROS: u64 = 30_000_000;
/// A flow with evidence gives it anew after so much packet time, so that a ban is renewed while traffic goes on.
pub const REARM_MICROS: u64 = 30_000_000;
/// Slots that are looked at for expiry in one sweep. A late sweep only delays the counter and the memory: a look-up
/// never returns an expired flow.
pub const SWEEP: u32 = 64;
/// Packet time between sweeps, of which there is one for a block of the ring or a batch at most: while these come faster
/// than that, the default number of flows is gone through in four seconds, a million in 16.
pub const SWEEP_MICROS: u64 = 1_000;
/// Slots among which the flow to evict is chosen: enough to meet a half-open or settled one during a flood,
/// few enough to cost less than a microsecond.
pub const EVICTION_SAMPLE: u32 = 16;
/// Sequence numbers that one end can have in flight, in bytes. What lies farther is another stream or the
/// other side of a gap in the capture. Also bounds how many acknowledgement numbers count as proof.
pub const MAX_IN_FLIGHT: u32 = 1 << 24;
/// Default number of [`StreamBuffers`](btblocker_detectors::StreamBuffers) per shard, 9 KiB each: 36 MiB.
pub const STREAM_BUFFERS: u32 = 4096;
