//! The filter's answer to single frames (`BPF_PROG_TEST_RUN`), beside that of the filter whose place it takes.

use std::path::Path;

use libbpf_rs::{Object, ObjectBuilder, ProgramInput};
use pcap::{Capture, Linktype};

use btblocker::capture::{EarlyExit, KERNEL_FILTER};

use crate::packets::{JUNK, end, ethernet, tcp, typed, udp, with_extension, with_options};

const SNAPLEN: u64 = 777;

/// The committed object, loaded once more, for a snap length of its own.
fn object() -> Object {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/contrib/early-exit/btblocker_early_exit.o"
    );
    let mut object = ObjectBuilder::default().open_file(path).unwrap();
    for mut map in object.maps_mut() {
        if map.name() == ".rodata.settings" {
            let settings = [7_u64, SNAPLEN].map(u64::to_ne_bytes).concat();
            map.set_initial_value(&settings).unwrap();
        }
    }
    object.load().unwrap()
}

/// Bytes that are left of a frame. The test run takes 14 bytes off, as a driver does.
fn run(object: &Object, program: &str, frame: &[u8]) -> u64 {
    let driver = [&[0; 12][..], &[0x88, 0xb5], frame].concat();
    let program = object.progs_mut().find(|candidate| candidate.name() == program);
    let input = ProgramInput {
        data_in: Some(&driver),
        ..ProgramInput::default()
    };
    program.unwrap().test_run(input).unwrap().return_value.into()
}

/// Frames of all recordings with Ethernet headers that a test run takes.
fn recorded() -> Vec<Vec<u8>> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut frames = Vec::new();
    for case in cases.read_dir().unwrap() {
        let mut file = Capture::from_file(case.unwrap().path().join("input.pcap")).unwrap();
        if file.get_datalink() != Linktype::ETHERNET {
            continue;
        }
        while let Ok(packet) = file.next_packet() {
            if packet.data.len() < 3_000 {
                frames.push(packet.data.to_vec());
            }
        }
    }
    frames
}

/// IP packets of every protocol, with and without a fragment header, and what the filters have a word for.
fn packets() -> Vec<Vec<u8>> {
    let four = [end("192.0.2.1", 20_000), end("198.51.100.1", 4_500)];
    let six = [end("2001:db8::1", 20_000), end("2001:db8:1::1", 4_500)];
    let mut packets = Vec::new();
    for [a, b] in [four, six] {
        packets.extend([
            udp(a, b, JUNK),
            tcp(a, b, [1, 2], 16, JUNK),
            tcp(a, b, [1, 2], 2, b""),
        ]);
        for protocol in 0..=255 {
            let (mut plain, mut fragment) = (udp(a, b, JUNK), udp(a, b, JUNK));
            if a == four[0] {
                (plain[9], fragment[9]) = (protocol, protocol);
                fragment[7] = 9;
            } else {
                (plain[6], fragment[6], fragment[40]) = (protocol, 44, protocol);
            }
            packets.extend([plain, fragment]);
        }
    }
    packets.push(with_options(four[0], four[1], JUNK));
    packets.push(with_extension(six[0], six[1], JUNK));
    packets.push(vec![0; 80]);
    packets
}

#[test]
fn without_a_flow_it_answers_as_the_filter_whose_place_it_takes() {
    let object = object();
    let frames = packets().into_iter().flat_map(|packet| {
        let kinds = [0x0800, 0x86dd, 0x0806, 0x8100, 0x8847, 100].map(|kind| typed(kind, &packet));
        [vec![ethernet(&packet)], kinds.to_vec()].concat()
    });
    let frames: Vec<Vec<u8>> = frames.chain(recorded()).collect();
    assert!(frames.len() > 10_000, "{}", frames.len());
    for (program, link, frames) in [
        ("bt_exit_ethernet", Linktype::ETHERNET, frames),
        ("bt_exit_raw_ip", Linktype(12), packets()),
    ] {
        let classic = Capture::dead(link).unwrap().compile(KERNEL_FILTER, true).unwrap();
        for frame in frames {
            // Whole headers, padded as on the line: the classic filter drops what it cannot read, this one does not.
            let frame = [&frame[..], &[0; 60][..60_usize.saturating_sub(frame.len())]].concat();
            let expected = if classic.filter(&frame) { SNAPLEN } else { 0 };
            assert_eq!(run(&object, program, &frame), expected, "{program} {frame:02x?}");
        }
    }
}

#[test]
fn what_is_cut_inside_its_headers_passes() {
    let object = object();
    for packet in packets() {
        for len in 1..40.min(packet.len()) {
            let frame = &ethernet(&packet)[..len.max(14)];
            let is_cut = len < if packet[0] >> 4 == 6 { 14 + 40 } else { 14 + 20 };
            if is_cut {
                assert_eq!(run(&object, "bt_exit_ethernet", frame), SNAPLEN, "{frame:02x?}");
            }
        }
    }
}

#[test]
fn without_rights_it_is_refused_by_name() {
    // Rights are those of the thread.
    let thread = std::thread::spawn(|| {
        // SAFETY: the raw system call takes no pointer and changes this thread only, unlike libc's wrapper.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(result, 0, "setresuid: {}", std::io::Error::last_os_error());
        EarlyExit::load(4_352).map(drop).unwrap_err()
    });
    let error = thread.join().unwrap();
    let (text, cause) = (
        error.to_string(),
        std::error::Error::source(&error).unwrap().to_string(),
    );
    assert!(text.contains("CAP_BPF"), "{text}: {cause}");
    assert!(
        cause.contains("Operation not permitted") || cause.contains("Permission denied"),
        "{text}: {cause}"
    );
}
