//! The byte signatures of the crate `btblocker-signatures`, as evidence.
//!
//! Promise: a signature counts only at the place in a message that its entry names. Asked last, for what no
//! technique recognised. Confidence is the entry's. Proves nobody. Entries of classes that this crate has no
//! word for (other swarms) give no evidence.

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

/// The class that a table entry names.
fn class(name: &str) -> Option<Class> {
    Class::ALL.iter().copied().find(|class| class.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_names_a_class_or_another_swarm() {
        for signature in &signatures::SIGNATURES {
            let known = class(signature.class).is_some() || signature.class == "other-swarm";
            assert!(known, "{}: {}", signature.id, signature.class);
        }
    }
}
