"""Records test cases from real programs: tests/cases/NAME/{input.pcap, README.md, expect.toml}. Needs root, tcpdump and the
programs that recordings.py names.

Usage: record.py [--list] [--again] [PATTERN...]    Cases that exist are left alone, unless told --again.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import isolation
import pcapfile
from lab import Lab
from more_recordings import further_recordings
from process import Failure, wait_until
from recordings import ALL_BYTES, CASES, Recording, bittorrent_recordings, look_alikes

RECORD_SECONDS = 90


def version(package: str) -> str:
    """Package with its installed version."""
    found = subprocess.run(["dpkg-query", "-W", package], capture_output=True, text=True, check=False)
    return " ".join(found.stdout.split()) or package


def end(value: tuple) -> str:
    """End point as address:port."""
    address, port = value
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def capture(recording: Recording, work: Path) -> tuple[str, list[tuple]]:
    """Runs the recording's action under tcpdump; returns the words about its commands, and the flows of the trimmed file."""
    lab = Lab(work, recording.link)
    try:
        for space, device in (("c1", "tun0" if recording.link == "tun" else "eth0"), ("p1", "eth0"), ("p2", "eth0")):
            lab.run(space, "ip", "link", "set", device, "gso_max_segs", "1")
        raw = work / "raw.pcap"
        tap = lab.spawn("r", "tcpdump", "tcpdump", "-i", lab.watched, "--immediate-mode", "-U", "-s", "0", "-Z", "root", "-w", str(raw), recording.wanted)
        tap.wait_line("listening on", 5)
        words = recording.action(lab)
        written = [-1]

        def settled() -> bool:
            written.append(raw.stat().st_size)
            return written[-1] == written[-2]

        wait_until("the capture file is written", settled, 10, every=0.3)
        tap.signal(signal.SIGINT)
        tap.wait(5)
    finally:
        lab.close()
    return words, pcapfile.trim(raw, work / "input.pcap", recording.frame_bytes)


def expectation(recording: Recording, flows: list[tuple]) -> str:
    """Text of expect.toml."""
    lines = ["# Ends as the frames show them; a is the end that sent first.", 'local_networks = ["10.77.0.0/16", "fd77::/16"]']
    if not recording.bittorrent:
        return "\n".join([*lines, "positive = []", "banned = []", "may_be_banned = []", ""])
    listed = [f'    {{ proto = "{kind}", a = "{end(first)}", b = "{end(other)}" }},' for kind, first, other in flows]
    hosts = sorted({str(side[0]) for _, *sides in flows for side in sides if not side[0].is_multicast})
    local = [host for host in hosts if host.startswith(("10.77.", "fd77:"))]
    banned = local if recording.must_ban else []
    rest = [host for host in hosts if host not in banned]

    def texts(values: list[str]) -> str:
        return "[" + ", ".join(f'"{value}"' for value in values) + "]"

    return "\n".join(
        [*lines, "positive = [", *listed, "]", f"banned = {texts(banned)}", f"may_be_banned = {texts(rest)}", ""]
    )


def description(recording: Recording, words: str, versions: dict) -> str:
    """Text of README.md."""
    device = "tun device (raw IP)" if recording.link == "tun" else "Ethernet"
    whole = recording.frame_bytes == ALL_BYTES
    kept = "the first packets" if whole else f"the first {recording.frame_bytes} bytes of the first packets"
    return (
        f"# {recording.name}\n\n{recording.purpose[0].upper()}{recording.purpose[1:]}.\n\n"
        f"Origin: recorded by this project in its own network namespaces with `tests/e2e/record.py {recording.name}`, at the "
        f"router's side of the clients' network, {device}; trimmed to {kept} of every flow. MIT, as the project.\n\n"
        f"Programs: {', '.join(versions[tool] for tool in recording.tools)}\n\nTraffic: {words}\n"
    )


def record(recording: Recording, versions: dict) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"btblocker-record-{recording.name}-"))
    work.chmod(0o755)
    try:
        signal.alarm(RECORD_SECONDS)
        words, flows = capture(recording, work)
        if not flows:
            raise Failure("no flow with payload was recorded")
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(f"FAIL {recording.name:45} {error} (logs: {work})", flush=True)
        return
    finally:
        signal.alarm(0)
    target = CASES / recording.name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(work / "input.pcap", target / "input.pcap")
    (target / "README.md").write_text(description(recording, words, versions).replace(str(work), "."))
    (target / "expect.toml").write_text(expectation(recording, flows))
    shutil.rmtree(work)
    print(f"made {recording.name:45} {(target / 'input.pcap').stat().st_size} bytes, {len(flows)} flows", flush=True)


def too_long(_number, _frame) -> None:
    raise Failure(f"not finished within {RECORD_SECONDS} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--again", action="store_true", help="record cases anew that exist")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    wish = parser.parse_args()
    chosen = [
        each
        for each in bittorrent_recordings() + further_recordings() + look_alikes()
        if (not wish.patterns or any(pattern in each.name for pattern in wish.patterns))
        and (wish.list or wish.again or not (CASES / each.name).exists())
    ]
    if wish.list:
        print("\n".join(each.name for each in chosen))
        return
    versions = {tool: version(tool) for each in chosen for tool in each.tools}
    isolation.enter()
    signal.signal(signal.SIGALRM, too_long)
    for recording in chosen:
        record(recording, versions)


if __name__ == "__main__":
    main()
