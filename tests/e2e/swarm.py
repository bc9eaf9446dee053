"""The transfers that a client tries in the tests: who seeds, who downloads, with which program, and how they find each other."""

from dataclasses import dataclass

import clients
import torrent
from lab import Lab

SIZE = 4 * 1024 * 1024


@dataclass(frozen=True)
class Swarm:
    """One kind of transfer from p1 to c1."""

    program: str = "libtorrent"
    family: int = 4
    transport: str = "tcp"
    # off: none; plain: MSE handshake, then plaintext; rc4: MSE with RC4 only; mse: MSE, the client chooses what follows;
    # ssl: TLS, of libtorrent only
    encryption: str = "off"
    # none: p1's address is typed in; http, udp: tracker behind the router; own: tracker on c1's loopback, which nobody can watch
    tracker: str = "none"
    link: str = "eth"
    nat: bool = False

    @property
    def name(self) -> str:
        """Short name for reports, such as `libtorrent-utp-v6-tun`."""
        parts = [
            self.program,
            self.transport if self.transport != "tcp" else "",
            self.encryption if self.encryption != "off" else "",
            {"none": "", "own": ""}.get(self.tracker, f"{self.tracker}-tracker"),
            f"v{self.family}",
            self.link if self.link != "eth" else "",
            "nat" if self.nat else "",
        ]
        return "-".join(part for part in parts if part)

    def lab(self, work) -> Lab:
        """A fresh lab for this transfer."""
        return Lab(work, self.link, self.nat)

    def seed(self, lab: Lab, size: int = SIZE) -> tuple:
        """Makes the torrent, starts its tracker and the seeder p1; returns torrent and seeder when p1 can serve."""
        scheme = {"http": "http", "udp": "udp", "own": "http"}.get(self.tracker)
        tracker = ("127.0.0.1" if self.family == 4 else "::1") if self.tracker == "own" else lab.address("t", self.family)
        announce = f"{scheme}://{clients.url_host(tracker)}:{clients.TRACKER_PORT}/announce" if scheme else ""
        root = clients.certificates(lab) / "root.pem" if self.encryption == "ssl" else None
        made = torrent.make(lab.work / "seed", size, announce, root=root)
        peer = f"{clients.url_host(lab.address('p1', self.family))}:{clients.PEER_PORT}"
        if self.tracker == "own":
            clients.fixed_tracker(lab, "c1", tracker, peer)
        elif scheme and self.family == 4:
            clients.opentracker(lab, "t", made.info_hash)
        elif scheme:
            clients.fixed_tracker(lab, "t", tracker, peer)
        seeder = self._client(lab, "p1", made, seed=True)
        if scheme and self.tracker != "own" and self.family == 4:
            clients.wait_for_seeder(lab, made)
        return made, seeder

    def download(self, lab: Lab, made: torrent.Torrent):
        """Starts the downloading client c1."""
        return self._client(lab, "c1", made, seed=False)

    def _client(self, lab: Lab, space: str, made: torrent.Torrent, seed: bool):
        if self.program == "transmission":
            encryption = {"off": 0, "mse": 1, "rc4": 2}[self.encryption]
            return clients.Transmission(lab, space, made, self.family, seed, encryption, self.transport == "utp")
        if self.program == "aria2":
            return clients.Aria2(lab, space, made, self.family, seed, self.encryption)
        if self.program == "rtorrent":
            return clients.Rtorrent(lab, space, made, self.family, seed, self.encryption)
        peers = [[lab.address("p1", self.family), clients.PEER_PORT]] if self.tracker == "none" and not seed else []
        wish = {"peers": peers, "transport": self.transport, "encryption": self.encryption, "certificates": str(lab.work)}
        return clients.Libtorrent(lab, space, made, self.family, seed, **wish)


PLAIN_V4 = Swarm()
PLAIN_V6 = Swarm(family=6)
TUN_V4 = Swarm(link="tun")
TUN_V6 = Swarm(family=6, link="tun")
OTHERS = [
    Swarm(program="transmission", encryption="mse", tracker="http"),
    Swarm(encryption="rc4", tracker="udp"),
    # Nothing is in the clear: no tracker, no DHT, no local discovery, one peer.
    Swarm(encryption="rc4"),
    Swarm(encryption="rc4", transport="utp"),
    Swarm(transport="utp", family=6),
    Swarm(program="aria2", encryption="off", tracker="http", family=6),
    Swarm(nat=True),
    Swarm(encryption="ssl", transport="utp"),
]
