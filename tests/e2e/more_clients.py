"""Further BitTorrent clients, for recordings only: no test starts them, so nothing but `record.py` needs them installed."""

import configparser
import json
import shlex

from clients import certificates
from isolation import local_port_is_open
from lab import Lab
from torrent import Torrent, bencode

PEER_PORT = 6881
BLOCK = 16 * 1024


class FileClient:
    """A client whose progress is read from the file that it writes, which holds for every program."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent):
        self.space, self.size = space, torrent.size
        self.home = lab.work / f"{space}-home"
        self.folder = lab.work / f"{space}-files"
        for directory in (self.home, self.folder):
            directory.mkdir(exist_ok=True)
        self._original = (torrent.folder / torrent.name).read_bytes()
        self._name = torrent.name

    def progress(self) -> int:
        """Bytes of whole blocks that equal the original."""
        for path in self.folder.rglob(f"{self._name}*"):
            held = path.read_bytes() if path.is_file() else b""
            return sum(
                len(self._original[at : at + BLOCK])
                for at in range(0, self.size, BLOCK)
                if held[at : at + BLOCK] == self._original[at : at + BLOCK]
            )
        return 0


class Ctorrent(FileClient):
    """Enhanced CTorrent: no encryption, no uTP, no DHT; finds its peers at the torrent's tracker."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent):
        super().__init__(lab, space, torrent)
        command = f"ctorrent -p {PEER_PORT} -e 1 -s {self.folder / torrent.name} {torrent.metainfo}"
        self.program = lab.spawn(space, f"{space}-ctorrent", *command.split())


class Qbittorrent(FileClient):
    """qBittorrent without a window."""

    ENCRYPTION = {"rc4": 1, "off": 2}

    def __init__(self, lab: Lab, space: str, torrent: Torrent, encryption: str, transport: str, anonymous: bool):
        super().__init__(lab, space, torrent)
        settings = configparser.RawConfigParser()
        settings.optionxform = str
        settings["LegalNotice"] = {"Accepted": "true"}
        settings["Network"] = {"PortForwardingEnabled": "false"}
        session = {
            "Port": PEER_PORT,
            "Encryption": self.ENCRYPTION[encryption],
            "BTProtocol": transport.upper(),
            "AnonymousModeEnabled": anonymous,
            "DHTEnabled": False,
            "LSDEnabled": False,
            "DefaultSavePath": self.folder,
        }
        settings["BitTorrent"] = {f"Session\\{key}": str(value) for key, value in session.items()}
        file = self.home / "qBittorrent" / "config" / "qBittorrent.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as out:
            settings.write(out, space_around_delimiters=False)
        command = f"qbittorrent-nox --profile={self.home} --save-path={self.folder} --skip-dialog=true {torrent.metainfo}"
        self.program = lab.spawn(space, f"{space}-qbittorrent", *command.split())


class Deluge(FileClient):
    """deluged, told by deluge-console what to load."""

    ENCRYPTION = {"off": (2, 2), "rc4": (0, 1)}  # policy forced 0, disabled 2; level full stream 1, either 2
    RPC_PORT = 58846

    def __init__(self, lab: Lab, space: str, torrent: Torrent, encryption: str):
        super().__init__(lab, space, torrent)
        policy, level = self.ENCRYPTION[encryption]
        settings = {
            "listen_ports": [PEER_PORT, PEER_PORT],
            "random_port": False,
            "random_outgoing_ports": True,
            "enc_in_policy": policy,
            "enc_out_policy": policy,
            "enc_level": level,
            "dht": False,
            "lsd": False,
            "upnp": False,
            "natpmp": False,
            "download_location": str(self.folder),
            "allow_remote": False,
            "new_release_check": False,
        }
        (self.home / "core.conf").write_text('{"file": 1, "format": 1}' + json.dumps(settings))
        (self.home / "auth").write_text("localclient:secret:10\n")
        self.program = lab.spawn(space, f"{space}-deluged", *f"deluged -d -L info -c {self.home}".split())
        lab.wait_port(space, self.RPC_PORT, local_port_is_open)
        add = f"connect 127.0.0.1:{self.RPC_PORT} localclient secret ; add -p {self.folder} {torrent.metainfo}"
        lab.run(space, "deluge-console", "-c", str(self.home), add, seconds=40)


class Ktorrent(FileClient):
    """KTorrent without a screen. It has own implementations of the encryption and of uTP."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent, encryption: str, transport: str = "tcp"):
        super().__init__(lab, space, torrent)
        encrypted, plain, utp = (str(is_so).lower() for is_so in (encryption == "rc4", encryption == "off", transport == "utp"))
        (self.home / "ktorrentrc").write_text(
            f"[downloads]\nsaveDir={self.folder}\nuseSaveDir=true\ntempDir={self.home}/ktorrent\nport={PEER_PORT}\n"
            f"dhtSupport=false\nuseEncryption={encrypted}\nallowUnencryptedConnections={plain}\n"
            f"utpEnabled={utp}\nonlyUseUtp={utp}\n"
        )
        places = " ".join(f"{name}={self.home}" for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"))
        command = f"env {places} QT_QPA_PLATFORM=offscreen dbus-run-session -- ktorrent --silent {torrent.metainfo}"
        self.program = lab.spawn(space, f"{space}-ktorrent", *shlex.split(command))


class Command(FileClient):
    """A client that needs no more than a command line; FOLDER, TORRENT, PORT and OWN (a folder of its own) in it are filled in."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent, command: str):
        super().__init__(lab, space, torrent)
        for word, value in (("FOLDER", self.folder), ("TORRENT", torrent.metainfo), ("PORT", PEER_PORT), ("OWN", self.home)):
            command = command.replace(word, str(value))
        self.program = lab.spawn(space, f"{space}-client", "sh", "-c", command)


class Torrentdht(FileClient):
    """TorrentDHT, which asks for a certificate whether it uses one or not."""

    def __init__(self, lab: Lab, space: str, torrent: Torrent):
        super().__init__(lab, space, torrent)
        settings = {
            "download-dir": f'"{self.folder}"',
            "listen-port": PEER_PORT,
            "swarm-security": '"mse"',
            "tracker-block-private": "#false",
            "listen-dual-stack": "#false",
        }
        file = self.home / "settings.kdl"
        file.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        folder = certificates(lab)
        words = {"CA_CERT": folder / "root.pem", "CERT": folder / "peer.pem", "KEY": folder / "peer.key"}
        words |= {"NETWORK_ID": "network-of-the-lab", "HANDSHAKE_KEY": "handshake-key-of-the-lab-32-bytes"}
        places = " ".join(f"TORRENTDHT_{name}={word}" for name, word in words.items())
        command = f"env HOME={self.home} {places} torrentdht download --config {file} --tracker-only {torrent.metainfo}"
        self.program = lab.spawn(space, f"{space}-torrentdht", *command.split())


class Biglybt(FileClient):
    """BiglyBT with its text console, from Debian 13's packages."""

    JARS = ("biglybt-core", "biglybt-ui", "commons-cli", "swt4", "bcprov")

    def __init__(self, lab: Lab, space: str, torrent: Torrent, encryption: str = "off"):
        super().__init__(lab, space, torrent)
        encrypted = int(encryption != "off")
        settings = {
            "TCP.Listen.Port": PEER_PORT,
            "UDP.Listen.Port": PEER_PORT,
            "UDP.NonData.Listen.Port": PEER_PORT,
            "network.transport.encrypted.require": encrypted,
            "network.transport.encrypted.min_level": "RC4" if encryption == "rc4" else "Plain",
            "network.transport.encrypted.fallback.outgoing": 1 - encrypted,
            "Use default data dir": 1,
            "Default save path": str(self.folder),
            "update.start": 0,
            "update.periodic": 0,
            "dht.enabled": 0,
        }
        (self.home / "biglybt.config").write_bytes(bencode(settings))
        path = ":".join(f"/usr/share/java/{name}.jar" for name in self.JARS)
        places = f"-Duser.home={self.home} -Dazureus.config.path={self.home} -Dazureus.install.path=/usr/share/biglybt"
        # The console takes commands as soon as it is there, and ends with its input.
        command = f"(echo 'add -o {self.folder} {torrent.metainfo}'; sleep 80) | java -cp {path} {places} com.biglybt.ui.Main --ui=console"
        self.program = lab.spawn(space, f"{space}-biglybt", "sh", "-c", command)
