//! The signature tables name only techniques and classes that exist.

use btblocker_detectors::{Class, Technique};
use btblocker_signatures::SIGNATURES;

#[test]
fn signatures_name_techniques_and_classes_that_exist() {
    for signature in &SIGNATURES {
        let technique = Technique::ALL
            .iter()
            .any(|technique| technique.name() == signature.technique);
        let class = Class::ALL.iter().any(|class| class.name() == signature.class);
        assert!(
            technique && class,
            "{}: {}, {}",
            signature.id,
            signature.technique,
            signature.class
        );
    }
}
