//! The byte signatures of the crate `btblocker-signatures`, as evidence.
//!
//! Promise: a signature counts only at the place in a message that its entry names. Asked last, for what no
//! technique recognised. Confidence and class are the entry's. Proves nobody.

use btblocker_signatures::{self as signatures, Anchor, Transport};

use crate::{Class, Confidence, Evidence, Side, Technique};

/// The signatures that stand at `anchor`, `field` being what the anchor names.
pub(crate) fn find(
    anchor: Anchor,
    transport: Transport,
    field: &[u8],
    speaker: Side,
) -> impl Iterator<Item = Evidence> {
    signatures::at(anchor, transport, field).filter_map(move |signature| {
        let confidence = match signature.confidence {
            signatures::Confidence::Weak => Confidence::Weak,
            signatures::Confidence::Strong => Confidence::Strong,
            signatures::Confidence::Conclusive => Confidence::Conclusive,
        };
        let class = class(signature.class)?;
        Some(Evidence::new(Technique::Signature, signature.id, confidence, speaker).of_class(class))
    })
}

/// Beginnings of streams that the handshake's own technique tells first.
const HANDSHAKES: [&str; 3] = ["handshake", "ace-stream", "delivery-optimization"];

/// Whether the signature of this id is evidence by itself. The others are parts of techniques, which know more than
/// bytes.
pub fn signature_is_evidence(id: &str) -> bool {
    signatures::by_id(id).is_some_and(|signature| {
        matches!(signature.anchor, Anchor::StreamStart | Anchor::DatagramStart)
            && class(signature.class).is_some()
            && !HANDSHAKES.contains(&id)
    })
}

/// The class that a table entry names.
fn class(name: &str) -> Option<Class> {
    Class::ALL.iter().copied().find(|class| class.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_handshakes_are_known_to_their_technique() {
        for id in HANDSHAKES {
            assert!(!signature_is_evidence(id), "{id}");
            let signature = signatures::by_id(id).unwrap();
            assert_eq!(signature.anchor, Anchor::StreamStart, "{id}");
        }
        assert!(signature_is_evidence("resilio") && signature_is_evidence("ww-xx"));
        assert!(!signature_is_evidence("agent-transmission") && !signature_is_evidence("nobody"));
    }
}
