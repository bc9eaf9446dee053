"""The cases: what must happen with and without the program under test. Each returns the measured figures as text."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import clients
from lab import Lab
from process import Failure, wait_until
from swarm import OTHERS, PLAIN_V4, PLAIN_V6, SIZE, TUN_V4, TUN_V6, Swarm
from torrent import Torrent
from watch import Watch, command

BACKENDS = ("ipset", "nftables")
PAYLOAD = "payload.bin"
SHORT_BAN_SECONDS = 5
RECONCILE_SECONDS = 8


def expect(held: bool, expectation: str) -> None:
    """Fails the case when its expectation does not hold."""
    if not held:
        raise Failure(expectation)


def free_transfer(swarm: Swarm, work: Path, _binary: str) -> str:
    """Without the program under test the transfer completes: the lab itself hinders nobody."""
    lab = swarm.lab(work)
    try:
        made, _ = swarm.seed(lab)
        started = time.monotonic()
        client = swarm.download(lab, made)
        wait_until("the transfer", lambda: client.progress() == made.size, 30)
        return f"{made.size // 1024} KiB in {time.monotonic() - started:.1f} s"
    finally:
        lab.close()


@dataclass
class Outcome:
    """What was measured of a watched transfer while uninvolved transfers of the same size went on beside it."""

    size: int
    ban_seconds: float | None
    bytes_held: int
    grew: int
    leaked: int
    bans: str

    def check_blocked(self) -> str:
        """The transfer was stopped; fails when it was not."""
        expect(self.ban_seconds is not None, "the client was not banned")
        expect(self.bytes_held < self.size, f"the transfer completed: {self.bytes_held} of {self.size} bytes")
        expect(self.grew == 0, f"the transfer went on after the ban: {self.grew} bytes more")
        return f"ban {self.ban_seconds:.2f} s, leaked {self.leaked // 1024} KiB of {self.size // 1024} KiB"


def watched_transfer(swarm: Swarm, lab: Lab, made: Torrent, watch: Watch) -> Outcome:
    """Lets c1 try its transfer while c2 loads as much over HTTP and SSH, then loads it once more as the measure of time."""
    clients.web_server(lab, "p2", made.folder, swarm.family)
    ssh = clients.Ssh(lab, "p2", swarm.family, 22)
    received = lab.received("c1")
    begun = time.monotonic()
    client = swarm.download(lab, made)
    beside = clients.download(lab, "c2", "p2", swarm.family, PAYLOAD, 30)
    copy = ssh.copy("c2", made.folder / PAYLOAD)
    address = lab.address("c1", swarm.family)
    wait_until("a ban or the whole file", lambda: watch.ban_line(address) or client.progress() == made.size, 30)
    line = watch.ban_line(address)
    ban_seconds = line[0] + watch.program.started - begun if line else None
    harmless(beside, copy, made)
    held = client.progress()
    clock = clients.download(lab, "c2", "p2", swarm.family, PAYLOAD, 30)
    expect(clock.wait(60) == 0, "the uninvolved second HTTP transfer failed")
    after = client.progress()
    leaked = lab.received("c1") - received
    return Outcome(made.size, ban_seconds, after, after - held, leaked, "" if "--dry-run" in watch.options else watch.bans())


def harmless(beside, copy, made) -> None:
    """The uninvolved transfers are complete and correct."""
    expect(beside.wait(60) == 0, "the uninvolved HTTP transfer failed")
    expect(beside.find(f"^done {made.size} {made.sha256}") is not None, "the uninvolved HTTP transfer was damaged")
    expect(copy.wait(60) == 0, "the uninvolved SSH transfer failed")
    expect(copy.find(f"^{made.sha256}") is not None, "the uninvolved SSH transfer was damaged")


def block(swarm: Swarm, backend: str, interfaces: str, work: Path, binary: str) -> str:
    """The program under test stops the transfer, and nobody else's."""
    lab = swarm.lab(work)
    try:
        made, _ = swarm.seed(lab)
        watch = Watch(lab, binary, backend, interfaces=interfaces)
        outcome = watched_transfer(swarm, lab, made, watch)
        figures = outcome.check_blocked()
        expect(lab.address("c1", swarm.family) in outcome.bans, "the client is not in the kernel set")
        for name in ("r", "c2", "p2"):
            expect(lab.address(name, swarm.family) not in outcome.bans.split(), f"{name} is in the kernel set")
        expect(watch.program.running(), "the program under test ended by itself")
        return figures
    finally:
        lab.close()


def dry_run_does_not_block(swarm: Swarm, backend: str, work: Path, binary: str) -> str:
    """With the enforcement taken out (--dry-run) the very check of `block` fails: so it can fail."""
    lab = swarm.lab(work)
    try:
        made, _ = swarm.seed(lab)
        watch = Watch(lab, binary, backend, "--dry-run")
        outcome = watched_transfer(swarm, lab, made, watch)
        try:
            outcome.check_blocked()
        except Failure as reason:
            expect(outcome.bytes_held == outcome.size, f"dry-run hindered the transfer: {outcome.bytes_held} of {outcome.size}")
            return f"as expected: {reason}"
        raise Failure("the check of a blocked transfer passed although nothing was enforced")
    finally:
        lab.close()


def banned_client(swarm: Swarm, backend: str, lab: Lab, binary: str, ban_seconds: int) -> tuple:
    """Gets c1 banned, then ends the swarm so that nothing renews the ban; returns the daemon and the torrent."""
    made, seeder = swarm.seed(lab)
    clients.web_server(lab, "p2", made.folder, swarm.family)
    watch = Watch(lab, binary, backend, "--ban-duration", f"{ban_seconds}s")
    client = swarm.download(lab, made)
    wait_until("the ban", lambda: watch.ban_line(lab.address("c1", swarm.family)), 20)
    lab.unplug("c1", "p1")
    client.program.kill()
    seeder.program.kill()
    return watch, made


def check_cut_off(swarm: Swarm, lab: Lab) -> None:
    """While c2 loads a file, c1 does not even get a connection."""
    attempt = clients.download(lab, "c1", "p2", swarm.family, PAYLOAD, 30)
    beside = clients.download(lab, "c2", "p2", swarm.family, PAYLOAD, 30)
    expect(beside.wait(30) == 0, "the uninvolved HTTP transfer failed")
    expect(attempt.find("^connected") is None, "the banned client was not cut off")
    attempt.kill()


def check_served(swarm: Swarm, lab: Lab, made: Torrent) -> None:
    """c1 loads the file."""
    load = clients.download(lab, "c1", "p2", swarm.family, PAYLOAD, 10)
    expect(load.wait(30) == 0, "the client is still cut off")
    expect(load.find(f"^done {made.size} {made.sha256}") is not None, "the client's HTTP transfer was damaged")


def unban_restores(swarm: Swarm, backend: str, work: Path, binary: str) -> str:
    """A banned client is cut off from everything; after `unban` its traffic flows again."""
    lab = swarm.lab(work)
    try:
        watch, made = banned_client(swarm, backend, lab, binary, 600)
        check_cut_off(swarm, lab)
        address = lab.address("c1", swarm.family)
        watch.command("unban", address)
        # Longer than the daemon's own comparison with the kernel takes to come round, which must not bring the ban back.
        lifted = time.monotonic()
        while time.monotonic() - lifted < RECONCILE_SECONDS:
            check_served(swarm, lab, made)
        expect(address not in watch.bans(), "the address is in the kernel set again after unban")
        return f"cut off, unbanned, served for {RECONCILE_SECONDS} s"
    finally:
        lab.close()


def ban_expires(swarm: Swarm, backend: str, kill: bool, work: Path, binary: str) -> str:
    """A ban ends by itself, also when the program under test was killed and cannot end it."""
    lab = swarm.lab(work)
    try:
        watch, _ = banned_client(swarm, backend, lab, binary, SHORT_BAN_SECONDS)
        banned = watch.program.started + watch.ban_line(lab.address("c1", swarm.family))[0]
        if kill:
            watch.program.signal(signal.SIGKILL)
            watch.program.wait(5)
        attempt = clients.download(lab, "c1", "p2", swarm.family, PAYLOAD, 20)
        connected = attempt.wait_line("^connected", SHORT_BAN_SECONDS + 10)[0] + attempt.started - banned
        expect(attempt.wait(30) == 0, "the client's HTTP transfer failed after the ban had run out")
        # A lost SYN is sent again after 1, 3 and 7 s, so the first connection comes up to 4 s after the end of the ban.
        soonest, latest = SHORT_BAN_SECONDS - 1, SHORT_BAN_SECONDS + 6
        expect(soonest <= connected <= latest, f"the ban of {SHORT_BAN_SECONDS} s lasted {connected:.1f} s")
        return f"ban of {SHORT_BAN_SECONDS} s, served again after {connected:.1f} s"
    finally:
        lab.close()


def kernel_state(lab: Lab) -> str:
    """Firewall rules and sets on the router, without their counters."""
    rules = lab.run("r", "nft", "-s", "list", "ruleset").stdout
    return rules + lab.run("r", "ipset", "list", "-n").stdout


def bans_outlive_the_daemon(swarm: Swarm, backend: str, work: Path, binary: str) -> str:
    """SIGTERM ends the daemon with status 0 and leaves the bans; setup, bans, unban and teardown work without it."""
    lab = swarm.lab(work)
    try:
        untouched = kernel_state(lab)
        command(lab, binary, "setup", "--backend", backend)
        expect(kernel_state(lab) != untouched, "setup left no trace in the kernel")
        watch, made = banned_client(swarm, backend, lab, binary, 600)
        status = watch.terminate()
        expect(status == 0, f"exit status {status} after SIGTERM")
        check_cut_off(swarm, lab)
        address = lab.address("c1", swarm.family)
        expect(address in watch.bans(), "the ban is gone after SIGTERM")
        watch.command("unban", address)
        check_served(swarm, lab, made)
        watch.command("teardown")
        left = kernel_state(lab)
        expect(left == untouched, f"teardown left something behind: {left}")
        return "stopped, cut off, unbanned, served, torn down"
    finally:
        lab.close()


def look_alikes_pass(backend: str, work: Path, binary: str) -> str:
    """Honest traffic that shares ports or words with BitTorrent bans nobody."""
    swarm = PLAIN_V4
    lab = swarm.lab(work)
    try:
        made, seeder = swarm.seed(lab)
        seeder.program.kill()
        page = b"<h1>BitTorrent protocol</h1>\x13BitTorrent protocol d1:ad2:id20: announce?info_hash=" * 2000
        (made.folder / "page.html").write_bytes(page)
        clients.web_server(lab, "p2", made.folder, 4)
        clients.web_server(lab, "p2", made.folder, 4, clients.TRACKER_PORT)
        ssh = clients.Ssh(lab, "p2", 4, clients.PEER_PORT)
        watch = Watch(lab, binary, backend, interfaces="r-lan,r-wan")
        loads = [
            clients.download(lab, "c2", "p2", 4, "page.html"),
            clients.download(lab, "c1", "p2", 4, "page.html", port=clients.TRACKER_PORT),
        ]
        copy = ssh.copy("c2", made.folder / PAYLOAD)
        for load in loads:
            expect(load.wait(30) == 0, "a page about BitTorrent did not arrive")
            expect(load.find(f"^done {len(page)} ") is not None, "a page about BitTorrent was cut")
        expect(copy.wait(30) == 0, "ssh on a BitTorrent port failed")
        for name in ("c1", "c2", "p2", "r"):
            expect(watch.ban_line(lab.address(name, 4)) is None, f"{name} was banned")
        return f"{len(loads)} pages, 1 ssh copy on port {clients.PEER_PORT}"
    finally:
        lab.close()


def all_cases() -> dict:
    """Name → (belongs to the smoke test, function of work directory and binary)."""
    cases = {}

    def add(name: str, function, *arguments, smoke: bool = False) -> None:
        cases[name] = (smoke, lambda work, binary: function(*arguments, work, binary))

    for swarm in [PLAIN_V4, PLAIN_V6, TUN_V4, TUN_V6, *OTHERS]:
        add(f"free/{swarm.name}", free_transfer, swarm, smoke=swarm in (PLAIN_V4, TUN_V4))
    for backend in BACKENDS:
        for swarm in (PLAIN_V4, PLAIN_V6, TUN_V4, TUN_V6):
            smoke = (backend, swarm) in (("nftables", PLAIN_V4), ("ipset", PLAIN_V6), ("nftables", TUN_V4))
            add(f"block/{backend}/{swarm.name}", block, swarm, backend, "", smoke=smoke)
    for number, swarm in enumerate(OTHERS):
        backend = BACKENDS[number % 2]
        add(f"block/{backend}/{swarm.name}", block, swarm, backend, "r-lan,r-wan" if swarm.nat else "")
    for backend in BACKENDS:
        family = PLAIN_V4 if backend == "nftables" else PLAIN_V6
        add(f"unban/{backend}", unban_restores, family, backend)
        add(f"expiry/{backend}", ban_expires, family, backend, False)
        add(f"expiry-after-kill/{backend}", ban_expires, family, backend, True)
        add(f"outlive/{backend}", bans_outlive_the_daemon, family, backend, smoke=backend == "nftables")
    add("look-alikes/nftables", look_alikes_pass, "nftables", smoke=True)
    add("mutation/dry-run", dry_run_does_not_block, PLAIN_V4, "nftables", smoke=True)
    return cases
