"""One daemon alone: on one end of a virtual cable, with recordings played into the other, inside the namespaces of
`isolation.enter()`."""

import json
import socket
import struct
import subprocess
import urllib.request
from pathlib import Path

from process import Program

ROOT = Path(__file__).resolve().parents[2]
LISTEN = "127.0.0.1:9475"
TOKEN = "correct-horse-battery-staple"


def start(binary: str, work: Path, *options: str) -> Program:
    """A daemon that watches `watched` and serves metrics and page on LISTEN; TOKEN lifts bans."""
    subprocess.run("ip link add watched type veth peer name peer".split(), check=True)
    for device in ("lo", "watched", "peer"):
        subprocess.run(["ip", "link", "set", device, "up"], check=True)
    token = work / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    program = Program("btblocker", [
        binary, "--interface", "watched", "--backend", "nftables", "--state-dir", "", "--control-socket", "",
        "--metrics-listen", LISTEN, "--web-token-file", str(token), *options,
    ], work)
    program.wait_line("ready", 20)
    return program


def play(case: str) -> None:
    """Sends the frames of a recorded case to the daemon's interface."""
    data = (ROOT / "tests/cases" / case / "input.pcap").read_bytes()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as cable:
        cable.bind(("peer", 0))
        at = 24
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at + 8)
            cable.send(data[at + 16 : at + 16 + length])
            at += 16 + length


def get(url: str) -> str:
    """Body of an answer."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def overview() -> dict:
    """What the page shows of the daemon."""
    return json.loads(get(f"http://{LISTEN}/overview.json"))["captures"][0]
