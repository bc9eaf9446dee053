"""A web server and a download, each one small program.

Usage: web.py serve ADDRESS PORT FOLDER | web.py fetch URL SECONDS
`fetch` prints `connected`, and `done BYTES SHA256` after the last byte; it fails when nothing arrives for so many seconds.
"""

import functools
import hashlib
import http.server
import socket
import socketserver
import sys
import urllib.parse


def serve(address: str, port: str, folder: str) -> None:
    class Server(socketserver.ThreadingTCPServer):  # http.server's own class first asks a name server for its name
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with Server((address, int(port)), handler) as server:
        print("serving", flush=True)
        server.serve_forever()


def fetch(url: str, seconds: str) -> None:
    parts = urllib.parse.urlsplit(url)
    digest, length = hashlib.sha256(), 0
    with socket.create_connection((parts.hostname, parts.port or 80), float(seconds)) as connection:
        print("connected", flush=True)
        request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n"
        connection.sendall(request.encode())
        stream = connection.makefile("rb")
        if b" 200 " not in stream.readline():
            sys.exit("no such page")
        while stream.readline().strip():
            pass
        while chunk := stream.read1(65536):
            digest.update(chunk)
            length += len(chunk)
    print("done", length, digest.hexdigest(), flush=True)


{"serve": serve, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
