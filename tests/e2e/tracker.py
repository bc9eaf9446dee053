"""An HTTP tracker (BEP 3, compact answers of BEP 23 and BEP 7) that always answers with the peers of its command line.

Usage: tracker.py ADDRESS PORT PEER_ADDRESS:PEER_PORT...   Serves where the packaged tracker cannot: IPv6, and on a client's
loopback, so that a test can show what the peer connection alone gives away.
"""

import http.server
import ipaddress
import socket
import socketserver
import sys

from torrent import bencode


def compact(peer: str) -> tuple[int, bytes]:
    host, _, port = peer.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    return address.version, address.packed + int(port).to_bytes(2, "big")


class Announce(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        peers = [compact(peer) for peer in sys.argv[3:]]
        answer = {
            "interval": 1800,
            "complete": 1,
            "incomplete": 1,
            "peers": b"".join(entry for version, entry in peers if version == 4),
            "peers6": b"".join(entry for version, entry in peers if version == 6),
        }
        body = bencode(answer)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    allow_reuse_address = True
    daemon_threads = True


with Server((sys.argv[1], int(sys.argv[2])), Announce) as server:
    print("serving", flush=True)
    server.serve_forever()
