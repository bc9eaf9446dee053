//! One entry of the detection log.

use std::sync::Arc;

use crate::event::Sample;
use crate::judge::FlowVerdict;

/// A flow that was judged BitTorrent.
#[derive(Debug)]
pub struct Detection {
    /// The flow and what decided.
    pub verdict: FlowVerdict,
    /// Where it was seen.
    pub interface: Arc<str>,
    /// The payload's beginning, unless no buffer was free.
    pub sample: Option<Box<Sample>>,
}

/// A detection with this payload, for tests.
#[cfg(test)]
pub(super) fn example(payload: &[u8]) -> Detection {
    use crate::event::samples;
    use crate::judge::{Corroboration, FlowId};
    use btblocker_detectors::{Confidence, Endpoint, Evidence, Side, Technique, Timestamp, Transport};

    let flow = FlowId {
        transport: Transport::Tcp,
        originator: Endpoint::new([10, 8, 0, 7].into(), 51_413),
        responder: Endpoint::new([203, 0, 113, 9].into(), 6_881),
    };
    let at = Timestamp(1_700_000_000_000_000);
    let evidence = Evidence::new(
        Technique::Handshake,
        "test",
        Confidence::Conclusive,
        Side::Originator,
    );
    let (sender, mut samples) = samples(2);
    let wire_len = u32::try_from(payload.len()).unwrap();
    sender.send(at, flow, [evidence].iter(), wire_len, payload);
    samples.hear();
    Detection {
        verdict: FlowVerdict {
            at,
            interface: 0,
            flow,
            evidence,
            corroboration: Corroboration::None,
            payload_len: 68,
            reported: true,
        },
        interface: "wg0".into(),
        sample: samples.take(&flow),
    }
}
