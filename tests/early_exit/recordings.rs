//! Detection is the same: two captures of one interface, one with early exit and one without.

use std::path::{Path, PathBuf};

use crate::lab::{Arrived, Link, Watched, Wire, junk};
use crate::namespace::in_namespace;
use crate::packets::end;

fn sightings(arrived: &[Arrived]) -> Vec<String> {
    let all = arrived.iter().flat_map(|arrived| &arrived.sightings);
    let mut texts: Vec<String> = all
        .map(|seen| {
            format!(
                "{:?} {:?} {:?} {}",
                seen.flow, seen.evidence, seen.proven, seen.payload_len
            )
        })
        .collect();
    texts.sort();
    texts
}

#[test]
fn recordings_give_the_same_evidence_with_early_exit() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<PathBuf> = cases
        .read_dir()
        .unwrap()
        .map(|case| case.unwrap().path())
        .collect();
    cases.sort();
    in_namespace(move || {
        let mut wire = Wire::new(Link::Ethernet);
        let (with, without) = (Watched::start(true), Watched::start(false));
        let bulk = [end("192.0.2.77", 20_000), end("198.51.100.77", 4_500)];
        let (mut found, mut least) = (0, 0);
        for case in cases {
            let mut file = pcap::Capture::from_file(case.join("input.pcap")).unwrap();
            if file.get_datalink() != pcap::Linktype::ETHERNET {
                continue;
            }
            let mut frames = Vec::new();
            while let Ok(packet) = file.next_packet() {
                frames.push(packet.data.to_vec());
            }
            // Repeated, so that there are flows that go on.
            for _ in 0..4 {
                for frames in frames.chunks(16) {
                    for frame in frames {
                        wire.send_frame(frame);
                        wire.send(&junk(bulk[0], bulk[1]));
                    }
                    let mark = wire.mark();
                    let all = [with.until(mark), without.until(mark)];
                    let [mine, theirs] = all.each_ref().map(|arrived| sightings(arrived));
                    assert_eq!(mine, theirs, "{}", case.display());
                    found += theirs.len();
                    least += all[1].len() - all[0].len();
                }
            }
        }
        let dropped = [&with, &without].map(|watched| watched.counters.stats().dropped);
        assert_eq!(dropped, [0, 0]);
        assert!(found > 300, "{found} pieces of evidence");
        // More than the bulk: flows of the recordings, too.
        assert!(
            least > 1_000 && with.left_out() > 1_000,
            "{least} frames were left out"
        );
    });
}
