"""Soak test: real clients come, are banned and are let go again, round after round, beside honest transfers and a stream of
new flows, in front of one daemon that is never restarted. Needs what run.py needs.

Usage: soak.py [--binary FILE] [--minutes N] [--backend NAME]
Prints the daemon's memory, descriptors and threads with every round; exit status 1 when a ban was missed, somebody else was
banned, an honest transfer was harmed, or the daemon grew.
"""

import argparse
import itertools
import random
import re
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import clients
import isolation
from cases import PAYLOAD, expect
from lab import Lab
from process import wait_until
from swarm import Swarm
from watch import Watch

ROOT = Path(__file__).resolve().parents[2]
BAN_SECONDS = 8
# Fewer flows than the load opens in some rounds, so that the table is full most of the time.
MAX_FLOWS = 8_192
# One client after the other; each finds the seeder in another way.
SWARMS = (
    Swarm(),
    Swarm(encryption="rc4", tracker="udp"),
    Swarm(transport="utp", family=6),
    Swarm(program="transmission", encryption="mse", tracker="http"),
    Swarm(program="aria2", tracker="http", family=6),
)


@dataclass(frozen=True)
class Footprint:
    """What the daemon takes."""

    kib: int
    descriptors: int
    threads: int

    @staticmethod
    def of(pid: int) -> "Footprint":
        status = Path(f"/proc/{pid}/status").read_text()
        field = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if ":" in line and len(line.split()) > 1}
        return Footprint(int(field["VmRSS"]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(field["Threads"]))


def load(address: str) -> None:
    """Sends random datagrams to the address for ever, about 1,000 a second and ten from each port."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
            for _ in range(10):
                try:
                    flow.sendto(random.randbytes(random.randint(20, 400)), (address, 40_000))
                except ConnectionRefusedError:
                    pass
                time.sleep(0.001)


def told(watch: Watch, address: str) -> int:
    """How often the daemon told a ban of the address."""
    line = re.compile(rf"\bbanned {re.escape(address)}: ")
    return sum(bool(line.search(text)) for _, text in watch.program.lines)


def one_round(swarm: Swarm, lab: Lab, watch: Watch) -> float:
    """One client's visit; returns the seconds from its start to its ban."""
    made, seeder = swarm.seed(lab)
    clients.web_server(lab, "p2", made.folder, swarm.family)
    address = lab.address("c1", swarm.family)
    before = told(watch, address)
    begun = time.monotonic()
    client = swarm.download(lab, made)
    beside = clients.download(lab, "c2", "p2", swarm.family, PAYLOAD, 30)
    # What the last client's orphaned connections send again may have banned the host already.
    wait_until("the ban", lambda: told(watch, address) > before or address in watch.bans(), 30)
    seconds = time.monotonic() - begun
    expect(client.progress() < made.size, "the transfer completed")
    expect(beside.wait(60) == 0, "an uninvolved transfer was harmed")
    banned = set(re.findall(r"[0-9a-f.:]+", watch.bans()))
    for name in ("r", "c2", "p2"):
        expect(lab.address(name, swarm.family) not in banned, f"{name} is banned")
    for program in (client.program, seeder.program):
        program.kill()
    # What its connections still send renews the ban for some seconds.
    wait_until("the end of the ban", lambda: address not in watch.bans(), BAN_SECONDS + 40, 1)
    after = clients.download(lab, "c1", "p2", swarm.family, PAYLOAD, 30)
    expect(after.wait(60) == 0, "the client is still cut off after its ban")
    expect(watch.program.running(), "the daemon ended by itself")
    lab.end_programs(keep=("btblocker", "load"))
    for folder in filter(Path.is_dir, lab.work.iterdir()):
        shutil.rmtree(folder)
    return seconds


def soak(binary: str, backend: str, minutes: float, work: Path) -> None:
    """Rounds until the time is over."""
    lab = Lab(work)
    try:
        options = ("--ban-duration", f"{BAN_SECONDS}s", "--max-flows", str(MAX_FLOWS))
        log = ("--detection-log", str(work / "detections.log"), "--detection-log-max-size", "1048576")
        watch = Watch(lab, binary, backend, *options, *log)
        lab.spawn("c2", "load", sys.executable, __file__, "--load", lab.address("p2", 4))
        pid = watch.program.pid
        end = time.monotonic() + minutes * 60
        seen, bans = [], []
        for number, swarm in enumerate(itertools.cycle(SWARMS)):
            if time.monotonic() >= end:
                break
            bans.append(one_round(swarm, lab, watch))
            seen.append(Footprint.of(pid))
            print(f"{number:4} {swarm.name:36} banned after {bans[-1]:4.1f} s  {seen[-1]}", flush=True)
        # The first rounds fill the tables.
        settled, last = seen[len(seen) // 3], seen[-1]
        print(f"{len(seen)} rounds, start {seen[0]}, middle {seen[len(seen) // 2]}, end {last}")
        expect(last.kib <= settled.kib * 1.1 + 2048, f"memory grew from {settled.kib} to {last.kib} KiB")
        expect(last.descriptors <= settled.descriptors, "descriptors grew")
        expect(last.threads <= settled.threads, "threads grew")
        expect(watch.terminate() == 0, "the daemon did not end well")
    finally:
        lab.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/btblocker"))
    parser.add_argument("--backend", default="ipset")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.load:
        load(wish.load)
    return isolation.run("soak", lambda work: soak(str(Path(wish.binary).resolve()), wish.backend, wish.minutes, work))


if __name__ == "__main__":
    sys.exit(main())
