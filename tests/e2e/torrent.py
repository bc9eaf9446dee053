"""A file of random bytes and the torrent (BEP 3 metainfo) that describes it."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

PIECE = 64 * 1024


def bencode(value) -> bytes:
    """Bencoded form of integers, byte strings, text, lists and dictionaries."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    pairs = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
    return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"


@dataclass
class Torrent:
    """One shared file: the directory that holds it complete, and its metainfo file."""

    folder: Path
    name: str
    size: int
    sha256: str
    metainfo: Path
    info_hash: str


def make(folder: Path, size: int, announce: str = "", name: str = "payload.bin", root: Path | None = None) -> Torrent:
    """Writes `size` random bytes (always the same ones) and the metainfo with the tracker's address, if there is one.

    With the file of a root certificate it is an SSL torrent: peers need certificates that this root signed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = random.Random(size).randbytes(size)
    (folder / name).write_bytes(content)
    pieces = b"".join(hashlib.sha1(content[at : at + PIECE]).digest() for at in range(0, size, PIECE))
    info = {"length": size, "name": name, "piece length": PIECE, "pieces": pieces}
    if root:
        info["ssl-cert"] = root.read_text()
    metainfo = folder.parent / f"{folder.name}.torrent"
    metainfo.write_bytes(bencode({"info": info} | ({"announce": announce} if announce else {})))
    return Torrent(
        folder=folder,
        name=name,
        size=size,
        sha256=hashlib.sha256(content).hexdigest(),
        metainfo=metainfo,
        info_hash=hashlib.sha1(bencode(info)).hexdigest(),
    )
