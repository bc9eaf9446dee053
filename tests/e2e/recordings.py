"""What is recorded: real clients in each mode, and honest programs that look alike. One entry makes one test case."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import clients
import torrent
from isolation import local_port_is_open
from lab import HERE, Lab
from process import wait_until
from swarm import Swarm

FILE_BYTES = 512 * 1024
ALL_BYTES = 65_535
# Of an encrypted stream the sizes tell it: so many packets are worth more than their contents.
SHORT_BYTES = 160
PAGE = (
    "<html><h1>BitTorrent protocol</h1><p>A client sends \x13BitTorrent protocol, then its info_hash and peer_id. "
    "GET /announce?info_hash= asks a tracker; d1:ad2:id20: starts a DHT query; magnet:?xt=urn:btih:"
    "da39a3ee5e6b4b0d3255bfef95601890afd80709</p></html>\n"
)
CASES = Path(__file__).resolve().parents[1] / "cases"
COPIED_BYTES = 22_000
SMB_FOLDERS = ("private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir")


@dataclass
class Recording:
    """One case to be made."""

    name: str
    purpose: str
    action: object  # called with the lab; returns the words that describe the commands
    bittorrent: bool = False
    link: str = "eth"
    family: int = 4
    must_ban: bool = True  # only of BitTorrent: whether one can tell from these packets
    frame_bytes: int = ALL_BYTES  # kept of each frame
    tools: list[str] = field(default_factory=list)
    wanted: str = "tcp or udp"  # what of the watched interface is kept, for tcpdump


def transfer(swarm: Swarm):
    """A whole transfer of the swarm's kind."""

    def action(lab: Lab) -> str:
        made, _ = swarm.seed(lab, FILE_BYTES)
        client = swarm.download(lab, made)
        wait_until("the transfer", lambda: client.progress() == made.size, 60)
        return f"{FILE_BYTES // 1024} KiB from p1 to c1, tests/e2e/swarm.py: {swarm}"

    return action


def seeds_only_dht(lab: Lab) -> str:
    """Two libtorrent nodes that know each other through the DHT."""
    made = torrent.make(lab.work / "seed", FILE_BYTES)
    clients.Libtorrent(lab, "p1", made, 4, True, dht=True)
    nodes = [[lab.address("p1", 4), clients.PEER_PORT]]
    client = clients.Libtorrent(lab, "c1", made, 4, False, dht=True, dht_nodes=nodes)
    wait_until("a DHT packet or two", lambda: client.program.find("^dht 1"), 20)
    return "libtorrent in c1 with p1 as its DHT bootstrap node"


def local_discovery(lab: Lab) -> str:
    """Local service discovery (BEP 14) between the clients of one network."""
    made = torrent.make(lab.work / "seed", FILE_BYTES)
    clients.Libtorrent(lab, "c2", made, 4, True, lsd=True)
    client = clients.Libtorrent(lab, "c1", made, 4, False, lsd=True)
    wait_until("the transfer", lambda: client.progress() == made.size, 60)
    return "libtorrent in c1 and c2 on one switch, seen at the router: multicast only"


def ssh_copy(port: int, family: int = 4):
    def action(lab: Lab) -> str:
        file = torrent.make(lab.work / "files", 64 * 1024).folder / "payload.bin"
        copy = clients.Ssh(lab, "p2", family, port).copy("c1", file)
        copy.wait(20)
        return f"ssh -p {port} p2 cat payload.bin (64 KiB)"

    return action


def web_pages(port: int):
    def action(lab: Lab) -> str:
        made = torrent.make(lab.work / "files", 64 * 1024, "http://tracker.example:6969/announce")
        (made.folder / "page.html").write_text(PAGE * 40)
        (made.folder / "file.torrent").write_bytes(made.metainfo.read_bytes())
        clients.web_server(lab, "p2", made.folder, 4, port)
        for page in ("page.html", "file.torrent", "payload.bin"):
            clients.download(lab, "c1", "p2", 4, page, port=port).wait(20)
        return f"HTTP from port {port}: a page about BitTorrent, a .torrent file, 64 KiB of random bytes"

    return action


def certificate(lab: Lab) -> Path:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=p2.example -keyout key.pem -out cert.pem"
    lab.run("p2", "sh", "-c", f"cd {lab.work} && {command}")
    return lab.work


def tls(port: int, options: str = ""):
    def action(lab: Lab) -> str:
        home = certificate(lab)
        text = home / "page.txt"
        text.write_text(PAGE * 60)
        server = f"openssl s_server {options} -accept {port} -key {home}/key.pem -cert {home}/cert.pem -naccept 1"
        lab.spawn("p2", "tls-server", "sh", "-c", f"cat {text} - | {server}").wait_line("ACCEPT", 5)
        client = f"openssl s_client {options} -connect {lab.address('p2', 4)}:{port} -servername p2.example -quiet"
        lab.spawn("c1", "tls-client", "sh", "-c", f"(echo hello; sleep 1.5) | {client}").wait(20)
        return f"{server.replace(str(home) + '/', '')}; {client}"

    return action


def script(space_client: str, server: str, client: str, words: str, udp: bool = False):
    """A pair of small Python programs from traffic.py."""

    def action(lab: Lab) -> str:
        program = [sys.executable, "-B", str(HERE / "traffic.py")]
        lab.spawn("p2", "server", *program, *server.split(), lab.address("p2", 4)).wait_line("serving", 5)
        lab.spawn(space_client, "client", *program, *client.split(), lab.address("p2", 4)).wait(30)
        return words

    return action


def dns(lab: Lab) -> str:
    address = lab.address("p2", 4)
    config = f"-k -h -R -z --user=root --listen-address={address} --address=/#/203.0.113.13 --pid-file="
    lab.spawn("p2", "dnsmasq", "dnsmasq", *config.split(), "--log-facility=-").wait_line("started", 5)
    names = "tracker.opentrackr.org router.bittorrent.com dht.transmissionbt.com udp.tracker.example www.bittorrent.com"
    for name in names.split():
        for kind in ("A", "AAAA", "TXT"):
            lab.run("c1", "dig", "+tries=1", "+time=2", f"@{address}", name, kind, check=False)
    return f"dig A, AAAA and TXT of {names}, answered by dnsmasq"


def wireguard(port: int):
    def action(lab: Lab) -> str:
        for space in ("c1", "p2"):
            lab.run(space, "sh", "-c", f"umask 77; wg genkey > {lab.work}/{space}.key; wg pubkey < {lab.work}/{space}.key > {lab.work}/{space}.pub")
            lab.spawn(space, f"{space}-wg", "wireguard-go", "-f", f"wg-{space}")
            wait_until("wg", lambda: lab.run(space, "wg", "show", f"wg-{space}", check=False).returncode == 0, 5)
        for space, other, inner in (("c1", "p2", "10.99.0.1"), ("p2", "c1", "10.99.0.2")):
            public = (lab.work / f"{other}.pub").read_text().strip()
            endpoint = ["endpoint", f"{lab.address('p2', 4)}:{port}"] if space == "c1" else []
            lab.run(space, "wg", "set", f"wg-{space}", "listen-port", str(port), "private-key", f"{lab.work}/{space}.key", "peer", public, "allowed-ips", "10.99.0.0/24", *endpoint)
            lab.run(space, "ip", "addr", "add", f"{inner}/24", "dev", f"wg-{space}")
            lab.run(space, "ip", "link", "set", f"wg-{space}", "up")
        lab.run("c1", "ping", "-c", "15", "-i", "0.05", "-s", "900", "10.99.0.2", check=False)
        return f"wireguard-go on UDP port {port} at both ends, 15 pings of 900 bytes through the tunnel"

    return action


def openvpn(port: int, protocol: str):
    def action(lab: Lab) -> str:
        home = certificate(lab)
        fingerprint = lab.run("p2", "openssl", "x509", "-in", f"{home}/cert.pem", "-noout", "-sha256", "-fingerprint").stdout.strip().split("=")[1]
        shared = f"--dev tun --cert {home}/cert.pem --key {home}/key.pem --peer-fingerprint {fingerprint} --verb 3 --port {port}"
        server = f"openvpn {shared} --proto {protocol}{'-server' if protocol == 'tcp' else ''} --tls-server --dh none --ifconfig 10.99.0.2 10.99.0.1"
        client = f"openvpn {shared} --proto {protocol}{'-client' if protocol == 'tcp' else ''} --tls-client --remote {lab.address('p2', 4)} --ifconfig 10.99.0.1 10.99.0.2"
        lab.spawn("p2", "openvpn-server", *server.split())
        lab.spawn("c1", "openvpn-client", *client.split()).wait_line("Initialization Sequence Completed", 20)
        lab.run("c1", "ping", "-c", "15", "-i", "0.05", "-s", "900", "10.99.0.2", check=False)
        return f"openvpn --proto {protocol} --port {port}, TLS mode, 15 pings of 900 bytes through the tunnel"

    return action


def irc(lab: Lab) -> str:
    config = lab.work / "ngircd.conf"
    config.write_text(f"[Global]\nName=irc.example.net\nListen={lab.address('p2', 4)}\nPorts=6881\n[Options]\nIdent=no\nPAM=no\nDNS=no\n")
    lab.spawn("p2", "ngircd", "ngircd", "-n", "-f", str(config))
    words = "NICK tester\\r\\nUSER t 0 * :t\\r\\nJOIN #torrents\\r\\nPRIVMSG #torrents :the BitTorrent protocol, info_hash and announce\\r\\nLIST\\r\\n"
    connection = f"exec 3<>/dev/tcp/{lab.address('p2', 4)}/6881; timeout 4 cat <&3 & sleep 1; printf '{words}' >&3; wait"
    lab.spawn("c1", "irc-client", "bash", "-c", connection).wait(20)
    return "ngircd on TCP port 6881; NICK, USER, JOIN, PRIVMSG with words of BitTorrent"


def ftp(lab: Lab) -> str:
    made = torrent.make(lab.work / "files", 64 * 1024, "udp://tracker.example:6969/announce")
    (made.folder / "linux.torrent").write_bytes(made.metainfo.read_bytes())
    made.folder.chmod(0o555)
    config = lab.work / "vsftpd.conf"
    config.write_text(f"listen=YES\nanonymous_enable=YES\nanon_root={made.folder}\nbackground=NO\nsecure_chroot_dir=/run/sshd\nseccomp_sandbox=NO\n")
    lab.spawn("p2", "vsftpd", "vsftpd", str(config))
    wait_until("ftp", lambda: lab.run("c1", "curl", "-sf", f"ftp://{lab.address('p2', 4)}/", "-o", "/dev/null", check=False).returncode == 0, 10)
    for name in ("linux.torrent", "payload.bin"):
        lab.run("c1", "curl", "-sf", f"ftp://{lab.address('p2', 4)}/{name}", "-o", "/dev/null")
    return "vsftpd and curl: a listing, a .torrent file, 64 KiB of random bytes over passive FTP"


def file_server(lab: Lab) -> str:
    """Recorded packets, which hold what peers said, are copied by others."""
    share = lab.work / "share"
    share.mkdir(mode=0o777)
    share.chmod(0o777)
    copied = lab.work / "input.pcap"
    copied.write_bytes((CASES / "bt-libtorrent-plain-v4/input.pcap").read_bytes()[:COPIED_BYTES])
    folders = "".join(f"{name} = {lab.work}/smb\n" for name in SMB_FOLDERS)
    config = lab.work / "smb.conf"
    config.write_text(
        f"[global]\nserver role = standalone server\nmap to guest = Bad User\nsmb ports = 445\n{folders}"
        f"[share]\npath = {share}\nguest ok = yes\nread only = no\n"
    )
    (lab.work / "smb").mkdir()
    lab.spawn("p2", "smbd", "smbd", "--foreground", "--no-process-group", "--configfile", str(config))
    address = lab.address("p2", 4)
    wait_until("smbd", lambda: lab.run("p2", "ss", "-Hltn", "sport = :445").stdout, 20)
    orders = f"put {copied} copy; get copy {lab.work}/back"
    lab.run("c1", "smbclient", "--no-pass", "--configfile", str(config), f"//{address}/share", "--command", orders)
    return f"smbclient: put and get of the first {COPIED_BYTES} bytes of `bt-libtorrent-plain-v4/input.pcap`"


def bittorrent_recordings() -> list[Recording]:
    """Every client in every mode it has."""
    found = []

    def add(swarm: Swarm, purpose: str) -> None:
        tools = {"libtorrent": ["python3-libtorrent"], "transmission": ["transmission-daemon"], "aria2": ["aria2"], "rtorrent": ["rtorrent"]}
        packages = tools[swarm.program] + (["opentracker"] if swarm.tracker in ("http", "udp") and swarm.family == 4 else [])
        hidden = swarm.encryption in ("mse", "rc4") and swarm.tracker in ("none", "own")
        kept = SHORT_BYTES if hidden else ALL_BYTES
        found.append(Recording(f"bt-{swarm.name}", purpose, transfer(swarm), True, swarm.link, swarm.family, frame_bytes=kept, tools=packages))

    modes = {
        "off": "no encryption",
        "plain": "MSE handshake, then plaintext selected",
        "mse": "MSE, then what the client prefers, which is RC4",
        "rc4": "MSE with RC4 forced",
    }
    for program in ("libtorrent", "transmission", "aria2", "rtorrent"):
        tracker = "none" if program == "libtorrent" else "own"
        for encryption in ("off", "plain", "rc4") if program in ("libtorrent", "aria2") else ("off", "mse", "rc4"):
            words = modes[encryption]
            for family in (4, 6) if program == "libtorrent" else (4,):
                add(Swarm(program, family, "tcp", encryption, tracker), f"peer connection over TCP, {words}")
            if program == "libtorrent":
                for family in (4, 6):
                    add(Swarm(program, family, "utp", encryption, tracker), f"peer connection over uTP, {words}")
    add(Swarm("transmission", 4, "utp", "rc4", "own"), "uTP with RC4 forced")
    add(Swarm("aria2", 6, "tcp", "off", "own"), "peer connection over TCP, IPv6")
    for encryption in ("off", "rc4"):
        for kind in ("http", "udp"):
            add(Swarm("libtorrent", 4, "tcp", encryption, kind), f"{kind.upper()} tracker and a peer connection")
            add(Swarm("transmission", 4, "tcp", encryption, kind), f"{kind.upper()} tracker and a peer connection")
    add(Swarm("aria2", 4, "tcp", "off", "http"), "HTTP tracker and a peer connection")
    add(Swarm("libtorrent", 6, "tcp", "rc4", "http"), "HTTP tracker over IPv6, encrypted peer connection")
    add(Swarm("libtorrent", 4, "tcp", "off", "none", "tun"), "layer-3 device: frames without Ethernet header")
    add(Swarm("libtorrent", 6, "utp", "off", "none", "tun"), "layer-3 device: frames without Ethernet header")
    add(Swarm("libtorrent", 4, "tcp", "ssl", "http"), "SSL torrent: HTTP tracker, then TLS between the peers")
    add(Swarm("libtorrent", 4, "utp", "ssl", "none"), "SSL torrent: TLS inside uTP")
    found.append(Recording("bt-libtorrent-dht", "DHT bootstrap between two nodes", seeds_only_dht, True, tools=["python3-libtorrent"]))
    found.append(Recording("bt-libtorrent-lsd", "local service discovery, multicast", local_discovery, True, must_ban=False, tools=["python3-libtorrent"]))
    return found


def look_alikes() -> list[Recording]:
    """Honest traffic on ports, with words, or with randomness like BitTorrent's."""
    own = ["python3"]
    return [
        Recording("honest-ssh-6881", "SSH on a BitTorrent port", ssh_copy(6881), tools=["openssh-server"]),
        Recording("honest-ssh-22-v6", "SSH over IPv6", ssh_copy(22, 6), family=6, tools=["openssh-server"]),
        Recording("honest-http-80", "pages that speak about BitTorrent, a .torrent download", web_pages(80), tools=own),
        Recording("honest-http-6969", "the same on a tracker's port", web_pages(6969), tools=own),
        Recording("honest-tls-443", "TLS 1.3", tls(443), tools=["openssl"]),
        Recording("honest-tls12-6881", "TLS 1.2 on a BitTorrent port", tls(6881, "-tls1_2"), tools=["openssl"]),
        Recording("honest-dtls-51413", "DTLS 1.2 on a BitTorrent port", tls(51413, "-dtls1_2 -mtu 1200"), tools=["openssl"]),
        Recording("honest-dns-trackers", "questions for names of trackers", dns, tools=["dnsmasq-base", "bind9-dnsutils"]),
        Recording("honest-wireguard-51820", "a WireGuard tunnel", wireguard(51820), tools=["wireguard-go"]),
        Recording("honest-wireguard-6881", "a WireGuard tunnel on a BitTorrent port", wireguard(6881), tools=["wireguard-go"]),
        Recording("honest-openvpn-udp-1194", "an OpenVPN tunnel over UDP", openvpn(1194, "udp"), tools=["openvpn"]),
        Recording("honest-openvpn-tcp-6881", "an OpenVPN tunnel over TCP on a BitTorrent port", openvpn(6881, "tcp"), tools=["openvpn"]),
        Recording("honest-irc-6881", "IRC on a BitTorrent port", irc, tools=["ngircd"]),
        Recording("honest-ftp-torrent", "FTP, control and data, of a .torrent file", ftp, tools=["vsftpd", "curl"]),
        Recording("honest-smb-capture", "a file server to which a capture of BitTorrent is copied, and from which it is read back", file_server, tools=["samba", "smbclient"]),
        Recording("honest-random-tcp-6881", "both ends send random bytes in random lengths", script("c1", "random-tcp-server 6881", "random-tcp-client 6881", "tests/e2e/traffic.py random-tcp"), tools=own),
        Recording("honest-random-udp-51413", "both ends send random datagrams", script("c1", "random-udp-server 51413", "random-udp-client 51413", "tests/e2e/traffic.py random-udp"), tools=own),
        Recording("honest-smtp-magnet", "a mail that quotes a magnet link and a handshake", script("c1", "smtp-server 25", "smtp-client 25", "tests/e2e/traffic.py smtp"), tools=own),
        Recording("honest-bencode-rpc", "an own RPC that uses bencoding over UDP, but not KRPC", script("c1", "bencode-server 6881", "bencode-client 6881", "tests/e2e/traffic.py bencode"), tools=own),
    ]
