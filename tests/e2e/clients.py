"""Real programs in the lab: BitTorrent clients, tracker, web server, SSH."""

import json
import socket
import sys
import urllib.error
import urllib.request
import xmlrpc.client
from pathlib import Path

from isolation import local_port_is_open, within
from lab import HERE, Lab
from process import Failure, Program, wait_until
from torrent import Torrent

TRACKER_PORT = 6969
PEER_PORT = 6881


def url_host(address: str) -> str:
    """Address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def certificates(lab: Lab) -> Path:
    """Makes what the peers of an SSL torrent need: root.pem, and a certificate for all of them, peer.pem and peer.key."""
    commands = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=root -keyout root.key -out root.pem",
        "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=peer -addext 'subjectAltName=DNS:*'"
        " -addext basicConstraints=CA:FALSE -CA root.pem -CAkey root.key -keyout peer.key -out peer.pem",
        "openssl dhparam -dsaparam -out dh.pem 2048",
    )
    lab.run("p1", "sh", "-c", f"cd {lab.work} && {' && '.join(commands)}")
    return lab.work


class Libtorrent:
    """A libtorrent client, see peer.py."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent, family: int, seed: bool, **wish):
        folder = torrent.folder if seed else lab.work / f"{space}-files"
        folder.mkdir(exist_ok=True)
        wish = {
            "torrent": str(torrent.metainfo),
            "folder": str(folder),
            "address": lab.address(space, family),
            "port": PEER_PORT,
            **wish,
        }
        self.size = torrent.size
        self.program = lab.spawn(space, f"{space}-libtorrent", "/usr/bin/python3", str(HERE / "peer.py"), json.dumps(wish))
        self.program.wait_line("^complete" if seed else "^listening", 15)

    def progress(self) -> int:
        """Bytes of the file that the client holds."""
        last = [text for _, text in self.program.lines if text.startswith("progress ")]
        return int(last[-1].split()[1]) if last else 0


class Transmission:
    """A transmission-daemon that finds its peers at the torrent's tracker only."""

    RPC_PORT = 9091

    def __init__(self, lab: Lab, space: str, torrent: Torrent, family: int, seed: bool, encryption: int = 1, utp: bool = False):
        home = lab.work / f"{space}-transmission"
        folder = torrent.folder if seed else lab.work / f"{space}-files"
        for directory in (home, folder):
            directory.mkdir(exist_ok=True)
        settings = {
            "download-dir": str(folder),
            "bind-address-ipv4": lab.address(space, 4),
            "peer-port": PEER_PORT,
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": True,
            "port-forwarding-enabled": False,
            "utp-enabled": utp,
            "encryption": encryption,
            "rpc-enabled": True,
            "rpc-bind-address": "127.0.0.1",
            "rpc-port": self.RPC_PORT,
            "rpc-whitelist-enabled": False,
            "rpc-host-whitelist-enabled": False,
            "rpc-authentication-required": False,
            "cache-size-mb": 1,
        }
        (home / "settings.json").write_text(json.dumps(settings))
        self.size = torrent.size
        self.space = space
        self._session = ""
        self.program = lab.spawn(space, f"{space}-transmission", "transmission-daemon", "-f", "-g", str(home))
        lab.wait_port(space, self.RPC_PORT, local_port_is_open)
        self._call("torrent-add", filename=str(torrent.metainfo))
        if seed:
            wait_until(f"transmission in {space} holds the file", lambda: self.progress() == self.size, 20)

    def _call(self, method: str, **arguments) -> dict:
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        for _ in range(2):
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.RPC_PORT}/transmission/rpc", body, {"X-Transmission-Session-Id": self._session}
            )
            try:
                answer = within(self.space, lambda: urllib.request.urlopen(request, timeout=5).read())
                return json.loads(answer)["arguments"]
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise
                self._session = error.headers["X-Transmission-Session-Id"]
        raise Failure(f"transmission in {self.space}: no session id")

    def progress(self) -> int:
        """Bytes of the file that the client holds."""
        torrents = self._call("torrent-get", fields=["haveValid", "haveUnchecked"])["torrents"]
        return sum(each["haveValid"] + each["haveUnchecked"] for each in torrents)


class Aria2:
    """An aria2c that finds its peers at the torrent's tracker only."""

    RPC_PORT = 6800

    def __init__(self, lab: Lab, space: str, torrent: Torrent, family: int, seed: bool, encryption: str = "plain"):
        folder = torrent.folder if seed else lab.work / f"{space}-files"
        folder.mkdir(exist_ok=True)
        crypto = {
            "off": [],
            "plain": ["--bt-require-crypto=true", "--bt-min-crypto-level=plain"],
            "rc4": ["--bt-require-crypto=true", "--bt-min-crypto-level=arc4"],
        }
        self.size = torrent.size
        self.space = space
        self.program = lab.spawn(
            space,
            f"{space}-aria2",
            *f"aria2c --no-conf --dir={folder} --listen-port={PEER_PORT} --enable-dht=false --bt-enable-lpd=false".split(),
            *f"--enable-rpc --rpc-listen-port={self.RPC_PORT} --check-integrity=true --seed-ratio=0 --quiet".split(),
            *f"--file-allocation=none --bt-tracker-interval=3 --disable-ipv6={str(family == 4).lower()}".split(),
            *crypto[encryption],
            str(torrent.metainfo),
        )
        lab.wait_port(space, self.RPC_PORT, local_port_is_open)
        if seed:
            wait_until(f"aria2 in {space} holds the file", lambda: self.progress() == self.size, 20)

    def progress(self) -> int:
        """Bytes of the file that the client holds."""
        body = json.dumps({"jsonrpc": "2.0", "id": "e2e", "method": "aria2.tellActive", "params": [["completedLength"]]})
        request = urllib.request.Request(f"http://127.0.0.1:{self.RPC_PORT}/jsonrpc", body.encode())
        answer = within(self.space, lambda: urllib.request.urlopen(request, timeout=5).read())
        return sum(int(each["completedLength"]) for each in json.loads(answer)["result"])


class Rtorrent:
    """An rtorrent without a terminal that finds its peers at the torrent's tracker only."""

    RPC_PORT = 5000
    ENCRYPTION = {"off": "none", "mse": "require", "rc4": "allow_incoming,try_outgoing,require,require_RC4"}

    def __init__(self, lab: Lab, space: str, torrent: Torrent, family: int, seed: bool, encryption: str = "off"):
        folder = torrent.folder if seed else lab.work / f"{space}-files"
        folder.mkdir(exist_ok=True)
        settings = {
            "system.daemon.set": "true",
            "network.scgi.open_port": f"127.0.0.1:{self.RPC_PORT}",
            "network.bind_address.set": lab.address(space, family),
            "network.port_range.set": f"{PEER_PORT}-{PEER_PORT}",
            "dht.mode.set": "disable",
            "protocol.encryption.set": self.ENCRYPTION[encryption],
            "directory.default.set": str(folder),
        }
        commands = lab.work / f"{space}-rtorrent.rc"
        commands.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.size = torrent.size
        self.space = space
        self.program = lab.spawn(space, f"{space}-rtorrent", "rtorrent", "-n", "-o", f"import={commands}", str(torrent.metainfo))
        lab.wait_port(space, self.RPC_PORT, local_port_is_open)
        if seed:
            wait_until(f"rtorrent in {space} holds the file", lambda: self.progress() == self.size, 20)

    def progress(self) -> int:
        """Bytes of the file that the client holds."""
        call = xmlrpc.client.dumps(("", "main", "d.completed_bytes="), "d.multicall2").encode()
        head = b"CONTENT_LENGTH\0%d\0SCGI\x001\0" % len(call)
        request = b"%d:%s,%s" % (len(head), head, call)

        def answer() -> bytes:
            with socket.create_connection(("127.0.0.1", self.RPC_PORT), 5) as connection:
                connection.sendall(request)
                return connection.makefile("rb").read()

        body = within(self.space, answer).partition(b"\r\n\r\n")[2]
        rows = xmlrpc.client.loads(body, use_builtin_types=True)[0][0]
        return sum(row[0] for row in rows)


def opentracker(lab: Lab, space: str, info_hash: str) -> Program:
    """Starts the packaged tracker (HTTP and UDP, IPv4) for one torrent."""
    home = lab.work / "opentracker"
    home.mkdir()
    home.chmod(0o755)
    (home / "white").write_text(f"{info_hash}\n")
    (home / "conf").write_text(f"access.whitelist /white\ntracker.rootdir {home}\ntracker.user nobody\n")
    program = lab.spawn(
        space, "opentracker", "opentracker", "-f", f"{home}/conf", "-p", f"{TRACKER_PORT}", "-P", f"{TRACKER_PORT}"
    )
    lab.wait_port(space, TRACKER_PORT, local_port_is_open)
    return program


def fixed_tracker(lab: Lab, space: str, address: str, *peers: str) -> Program:
    """Starts a tracker that always names the given peers, see tracker.py."""
    program = lab.spawn(
        space, f"{space}-tracker", sys.executable, str(HERE / "tracker.py"), address, str(TRACKER_PORT), *peers
    )
    program.wait_line("serving", 5)
    return program


def web_server(lab: Lab, space: str, folder: Path, family: int, port: int = 80) -> Program:
    """Starts a web server for a folder."""
    program = lab.spawn(
        space, f"{space}-web{family}-{port}", sys.executable, str(HERE / "web.py"), "serve", lab.address(space, family), str(port), str(folder)
    )
    program.wait_line("serving", 5)
    return program


def download(lab: Lab, space: str, server: str, family: int, path: str, patience: float = 10, port: int = 80) -> Program:
    """Starts a download over HTTP; see web.py for the lines that it prints."""
    url = f"http://{url_host(lab.address(server, family))}:{port}/{path}"
    return lab.spawn(space, f"{space}-download", sys.executable, str(HERE / "web.py"), "fetch", url, str(patience))


class Ssh:
    """An sshd with keys of its own, and file transfers from it."""

    def __init__(self, lab: Lab, space: str, family: int, port: int):
        self.lab, self.address, self.port = lab, lab.address(space, family), port
        self.home = lab.work / "ssh"
        self.home.mkdir(mode=0o700)
        for key in ("host", "user"):
            lab.run(space, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.home}/{key}")
        (self.home / "sshd_config").write_text(
            f"ListenAddress {url_host(self.address)}:{port}\n"
            f"HostKey {self.home}/host\nAuthorizedKeysFile {self.home}/user.pub\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
        )
        lab.spawn(space, f"{space}-sshd", "/usr/sbin/sshd", "-D", "-e", "-f", f"{self.home}/sshd_config").wait_line("listening", 5)

    def copy(self, space: str, path: Path) -> Program:
        """Starts a transfer of a file; prints its SHA-256 at the end."""
        options = "-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oBatchMode=yes -oLogLevel=ERROR -oConnectTimeout=5"
        command = f"ssh -F none -i {self.home}/user {options} -p {self.port} root@{self.address} cat {path} | sha256sum"
        return self.lab.spawn(space, f"{space}-ssh", "bash", "-c", command)


def wait_for_seeder(lab: Lab, torrent: Torrent) -> None:
    """Waits until the tracker in `t` knows a complete peer, as its scrape answer says."""
    escaped = "".join(f"%{torrent.info_hash[at : at + 2]}" for at in range(0, 40, 2))
    url = f"http://127.0.0.1:{TRACKER_PORT}/scrape?info_hash={escaped}"

    def known() -> bool:
        answer = within("t", lambda: urllib.request.urlopen(url, timeout=5).read())
        return b"8:completei1e" in answer

    wait_until("the tracker knows the seeder", known, 15)
