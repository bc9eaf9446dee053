"""Recordings of further BitTorrent clients and of further honest programs: optional to repeat, as no test runs them.

Debian 12 has the programs whose entry names no release. For the others run `record.py` on Debian 13, or in a chroot of it
(`debootstrap --variant=minbase trixie DIR`, then the packages python3, iproute2, tcpdump, procps and those of the entry).
torrent-stream and webtorrent come from npm; NODE_PATH names the folder that holds them. rqbit and torrentdht come from
crates.io.
"""

import os

import clients
import torrent
from lab import Lab
from more_clients import Biglybt, Command, Ctorrent, Deluge, Ktorrent, Qbittorrent, Torrentdht
from process import wait_until
from recordings import ALL_BYTES, FILE_BYTES, SHORT_BYTES, Recording

# These clients also ask for names, port mappings and updates.
PEERS = "(tcp or udp) and net 203.0.113.0/24"
NODE_PROGRAM = (
    "const fs = require('fs'), stream = require('torrent-stream');"
    "const engine = stream(fs.readFileSync(process.argv[1]), {path: process.argv[2], dht: false});"
    "engine.on('ready', () => engine.files.forEach(file => file.select()));"
)
WEBTORRENT = (
    "import WebTorrent from '{folder}/webtorrent/index.js';"
    "const wish = {{dht: false, lsd: false, natUpnp: false, natPmp: false, secure: 2, utp: process.argv[3] === 'utp'}};"
    "new WebTorrent(wish).add(process.argv[1], {{path: process.argv[2]}});"
)


def download(make, encryption: str = "off", transport: str = "tcp", tracker: str = "own"):
    """c1 downloads from a libtorrent seeder in p1. `make(lab, torrent)` starts the client; trackers as in swarm.py."""

    def action(lab: Lab) -> str:
        host = {"own": "127.0.0.1", "http": lab.address("t", 4), "udp": lab.address("t", 4)}[tracker]
        scheme = "udp" if tracker == "udp" else "http"
        made = torrent.make(lab.work / "seed", FILE_BYTES, f"{scheme}://{host}:{clients.TRACKER_PORT}/announce")
        if tracker == "own":
            clients.fixed_tracker(lab, "c1", host, f"{lab.address('p1', 4)}:{clients.PEER_PORT}")
        else:
            clients.opentracker(lab, "t", made.info_hash)
        clients.Libtorrent(lab, "p1", made, 4, True, transport=transport, encryption=encryption)
        if tracker != "own":
            clients.wait_for_seeder(lab, made)
        client = make(lab, made)
        wait_until("the transfer", lambda: client.progress() == made.size, 75)
        return f"{FILE_BYTES // 1024} KiB from libtorrent in p1 to c1; encryption {encryption}, {transport}, {tracker} tracker"

    return action


def further_recordings() -> list[Recording]:
    """One entry makes one test case."""
    found = []

    def add(name: str, purpose: str, tools: list[str], make, *kind: str) -> None:
        hidden = "rc4" in kind and "udp" not in kind
        kept = SHORT_BYTES if hidden else ALL_BYTES
        found.append(Recording(f"bt-{name}", purpose, download(make, *kind), True, frame_bytes=kept, tools=tools, wanted=PEERS))

    def command(text: str):
        return lambda lab, made: Command(lab, "c1", made, text)

    add("ctorrent-v4", "a client without encryption, uTP and DHT", ["ctorrent"], lambda lab, made: Ctorrent(lab, "c1", made))
    add(
        "ctorrent-http-tracker-v4", "HTTP tracker and a peer connection", ["ctorrent", "opentracker"],
        lambda lab, made: Ctorrent(lab, "c1", made), "off", "tcp", "http",
    )
    for encryption, transport, anonymous in (("off", "tcp", False), ("rc4", "tcp", True), ("rc4", "utp", True)):
        words = "forced encryption in anonymous mode" if anonymous else "no encryption"
        add(
            f"qbittorrent{'-anonymous' if anonymous else ''}{'-utp' if transport == 'utp' else ''}-{encryption}-v4",
            f"{words} over {transport}", ["qbittorrent-nox"],
            lambda lab, made, chosen=(encryption, transport, anonymous): Qbittorrent(lab, "c1", made, *chosen),
            encryption, transport,
        )
    add(
        "qbittorrent-anonymous-rc4-udp-tracker-v4", "UDP tracker in anonymous mode, then an encrypted peer connection",
        ["qbittorrent-nox", "opentracker"], lambda lab, made: Qbittorrent(lab, "c1", made, "rc4", "tcp", True), "rc4", "tcp", "udp",
    )
    add("deluge-v4", "no encryption", ["deluged"], lambda lab, made: Deluge(lab, "c1", made, "off"))
    add("deluge-rc4-v4", "forced encryption", ["deluged"], lambda lab, made: Deluge(lab, "c1", made, "rc4"), "rc4")
    ktorrent = ["ktorrent", "Debian 13"]
    add("ktorrent-v4", "no encryption", ktorrent, lambda lab, made: Ktorrent(lab, "c1", made, "off"))
    add("ktorrent-rc4-v4", "own implementation of the encryption", ktorrent, lambda lab, made: Ktorrent(lab, "c1", made, "rc4"), "rc4")
    add(
        "ktorrent-utp-rc4-v4", "own implementations of uTP and of the encryption", ktorrent,
        lambda lab, made: Ktorrent(lab, "c1", made, "rc4", "utp"), "rc4", "utp",
    )
    biglybt = ["biglybt", "Debian 13"]
    add("biglybt-v4", "no encryption", biglybt, lambda lab, made: Biglybt(lab, "c1", made))
    add("biglybt-rc4-v4", "own implementation of the encryption", biglybt, lambda lab, made: Biglybt(lab, "c1", made, "rc4"), "rc4")
    lftp = "HOME=OWN lftp -c 'set torrent:use-dht no; set torrent:port-range PORT; torrent -O FOLDER TORRENT'"
    add("lftp-v4", "own implementation of the peer protocol", ["lftp", "Debian 13"], command(lftp))
    unworkable = "cd FOLDER && unworkable -p PORT TORRENT"
    add("unworkable-v4", "own implementation of the peer protocol", ["unworkable", "Debian 13"], command(unworkable))
    node = f'NODE_PATH={os.environ.get("NODE_PATH", "")} node -e "{NODE_PROGRAM}" TORRENT FOLDER'
    add("torrent-stream-v4", "the library behind peerflix", ["torrent-stream 1.2.1 of npm"], command(node))
    program = WEBTORRENT.format(folder=os.environ.get("NODE_PATH", ""))
    for transport in ("tcp", "utp"):
        utp = "-utp" if transport == "utp" else ""
        add(
            f"webtorrent{utp}-rc4-v4", f"own implementation of the encryption, over {transport}", ["webtorrent 3.0.21 of npm"],
            command(f'node --input-type=module -e "{program}" TORRENT FOLDER {transport}'), "rc4", transport,
        )
        only = "--disable-tcp-connect --experimental-enable-utp-listen" if utp else ""
        rqbit = f"HOME=OWN rqbit --disable-dht --disable-lsd --disable-upnp-port-forward --listen-port PORT {only} download --disable-http-api -o FOLDER TORRENT"
        add(f"rqbit{utp}-v4", f"own implementation of the peer protocol, over {transport}", ["rqbit 9.1.0 of crates.io"], command(rqbit), "off", transport)
    add(
        "torrentdht-rc4-v4", "own implementation of the encryption without pads", ["torrentdht 0.1.1 of crates.io"],
        lambda lab, made: Torrentdht(lab, "c1", made), "rc4",
    )
    for encryption, utp in (("off", True), ("rc4", False), ("rc4", True)):
        add(
            f"transmission4{'-utp' if utp else ''}-{encryption}-v4", f"{'forced' if encryption == 'rc4' else 'no'} encryption over {'utp' if utp else 'tcp'}", ["transmission-daemon", "Debian 13"],
            lambda lab, made, chosen=(2 if encryption == "rc4" else 0, utp): clients.Transmission(lab, "c1", made, 4, False, *chosen),
            encryption, "utp" if utp else "tcp",
        )
    return found
