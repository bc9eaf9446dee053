"""A small internet: two clients behind a router, two peers and a tracker on the far side.

    c1 ─┐                                        ┌─ p1  203.0.113.11
        s ── r-lan [r] r-wan ── i-wan [i] i-net ─┼─ p2  203.0.113.12
    c2 ─┘                                        └─ t   203.0.113.13

`r` is the watched router with a default route to `i`, as a real gateway has; the clients' network is on its own interface.
With `link="tun"` the client c1 hangs on a layer-3 device `r-tun` (raw IP, no Ethernet header) instead of the switch `s`.
Each client's line is shaped to `RATE`, so that a transfer takes long enough for a ban to matter.
"""

import json
import subprocess
import sys
from pathlib import Path

from isolation import within
from process import Program, wait_until

HERE = Path(__file__).resolve().parent
RATE = "16mbit"
ADDRESS = {
    "r": ("192.0.2.2", "2001:db8::2"),
    "c1": ("10.77.1.11", "fd77:1::11"),
    "c2": ("10.77.1.12", "fd77:1::12"),
    "p1": ("203.0.113.11", "2001:db8:113::11"),
    "p2": ("203.0.113.12", "2001:db8:113::12"),
    "t": ("203.0.113.13", "2001:db8:113::13"),
}
TUN_ADDRESS = ("10.77.9.11", "fd77:9::11")
TUN_ROUTER = ("10.77.9.1", "fd77:9::1")


class Lab:
    """The namespaces of one test case and every program in them."""

    def __init__(self, work: Path, link: str = "eth", nat: bool = False):
        self.work = work
        self.link = link
        self.watched = "r-tun" if link == "tun" else "r-lan"
        self._programs: list[Program] = []
        self._spaces: list[str] = []
        for name in ("r", "i", "s", "c1", "c2", "p1", "p2", "t"):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self._spaces.append(name)
        self._build()
        if nat:
            self._masquerade()

    def _build(self) -> None:
        v4_prefix, v6_prefix = 24, 64
        self._bridge("s", "s-lan")
        self._bridge("i", "i-net")
        self._cable("r", "r-lan", "s", "s-r")
        self._cable("r", "r-wan", "i", "i-wan")
        self._ip("s", "link set s-r master s-lan")
        for name in ("c2",) if self.link == "tun" else ("c1", "c2"):
            self._cable(name, "eth0", "s", f"s-{name}")
            self._ip("s", f"link set s-{name} master s-lan")
            self._addresses(name, "eth0", ADDRESS[name])
            self._default_route(name, ("10.77.1.1", "fd77:1::1"))
            self.shape("s", f"s-{name}")
            self.shape(name, "eth0")
        for name in ("p1", "p2", "t"):
            self._cable(name, "eth0", "i", f"i-{name}")
            self._ip("i", f"link set i-{name} master i-net")
            self._addresses(name, "eth0", ADDRESS[name])
            self._default_route(name, ("203.0.113.1", "2001:db8:113::1"))
        self._addresses("r", "r-lan", ("10.77.1.1", "fd77:1::1"))
        self._addresses("r", "r-wan", ADDRESS["r"], 30, v6_prefix)
        self._addresses("i", "i-wan", ("192.0.2.1", "2001:db8::1"), 30, v6_prefix)
        self._addresses("i", "i-net", ("203.0.113.1", "2001:db8:113::1"), v4_prefix, v6_prefix)
        self._default_route("r", ("192.0.2.1", "2001:db8::1"))
        self._ip("i", "route add 10.77.0.0/16 via 192.0.2.2")
        self._ip("i", "-6 route add fd77::/16 via 2001:db8::2")
        for name in ("r", "i"):
            self.run(name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if self.link == "tun":
            relay = self.spawn("r", "tun-relay", sys.executable, str(HERE / "tun_relay.py"), "r", "r-tun", "c1", "tun0")
            relay.wait_line("relaying", 5)
            self._addresses("r", "r-tun", TUN_ROUTER)
            self._addresses("c1", "tun0", TUN_ADDRESS)
            self._default_route("c1", TUN_ROUTER)
            self.shape("r", "r-tun")
            self.shape("c1", "tun0")

    def _bridge(self, space: str, device: str) -> None:
        self._ip(space, f"link add {device} type bridge")
        self._ip(space, f"link set {device} up")

    def _cable(self, space: str, device: str, other: str, other_device: str) -> None:
        self._ip(space, f"link add {device} type veth peer name {other_device} netns {other}")
        for end, name in ((space, device), (other, other_device)):
            self._ip(end, f"link set {name} up")
            self._ip(end, "link set lo up")

    def _addresses(self, space: str, device: str, pair: tuple[str, str], v4_prefix: int = 24, v6_prefix: int = 64) -> None:
        self._ip(space, f"link set {device} up")
        self._ip(space, f"addr add {pair[0]}/{v4_prefix} dev {device}")
        self._ip(space, f"addr add {pair[1]}/{v6_prefix} dev {device} nodad")

    def _default_route(self, space: str, pair: tuple[str, str]) -> None:
        self._ip(space, f"route add default via {pair[0]}")
        self._ip(space, f"-6 route add default via {pair[1]}")

    def _masquerade(self) -> None:
        rules = "table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat\noifname r-wan masquerade\n}\n}\n"
        subprocess.run(["ip", "netns", "exec", "r", "nft", "-f", "-"], input=rules.encode(), check=True)

    def _ip(self, space: str, words: str) -> None:
        subprocess.run(["ip", "-n", space, *words.split()], check=True)

    def shape(self, space: str, device: str, rate: str = RATE) -> None:
        """Limits what leaves through the device."""
        words = f"qdisc replace dev {device} root tbf rate {rate} burst 64kb latency 100ms"
        self.run(space, "tc", *words.split())

    def address(self, name: str, family: int) -> str:
        """Address of a host in IP version 4 or 6."""
        pair = TUN_ADDRESS if name == "c1" and self.link == "tun" else ADDRESS[name]
        return pair[0 if family == 4 else 1]

    def unplug(self, name: str, other: str) -> None:
        """Takes the route between two hosts away at both ends, so that not even a retransmission travels any more."""
        for family in (4, 6):
            for end, far in ((name, other), (other, name)):
                self._ip(end, f"-{family} route add blackhole {self.address(far, family)}")

    def run(self, space: str, *argv: str, seconds: float = 20, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a command to its end inside a namespace and returns its status and text output."""
        command = ["ip", "netns", "exec", space, *argv]
        return subprocess.run(command, check=check, timeout=seconds, capture_output=True, text=True)

    def spawn(self, space: str, name: str, *argv: str) -> Program:
        """Starts a program inside a namespace; it ends with the lab at the latest."""
        program = Program(name, ["ip", "netns", "exec", space, *argv], self.work)
        self._programs.append(program)
        return program

    def received(self, name: str) -> int:
        """Bytes that a client's own network interface has received so far."""
        device = "tun0" if name == "c1" and self.link == "tun" else "eth0"
        output = subprocess.run(
            ["ip", "-n", name, "-j", "-s", "link", "show", device], check=True, capture_output=True, text=True
        ).stdout
        return json.loads(output)[0]["stats64"]["rx"]["bytes"]

    def wait_port(self, name: str, port: int, probe) -> None:
        """Waits until `probe(port)` holds inside a namespace."""
        wait_until(f"port {port} in {name}", lambda: within(name, probe, port), 10)

    def end_programs(self, keep: tuple[str, ...] = ()) -> None:
        """Ends every program but those of these names."""
        for program in reversed(self._programs):
            if program.name not in keep:
                program.kill()
        self._programs = [program for program in self._programs if program.name in keep]

    def close(self) -> None:
        """Ends every program and removes the namespaces."""
        self.end_programs()
        for name in self._spaces:
            subprocess.run(["ip", "netns", "del", name], check=False)
