"""Servers and clients of honest traffic that imitates some trait of BitTorrent.

Usage: traffic.py KIND PORT ADDRESS    KIND is one of random-tcp, random-udp, smtp, bencode, each with -server or -client
"""

import random
import smtplib
import socket
import socketserver
import sys

from torrent import bencode

MAIL = (
    "Subject: linux images\r\n\r\nTake magnet:?xt=urn:btih:da39a3ee5e6b4b0d3255bfef95601890afd80709 or look at\r\n"
    "http://tracker.example:6969/announce?info_hash=x. A peer says: \x13BitTorrent protocol\r\n"
)
SOURCE = random.Random(6881)


def chunks() -> list[bytes]:
    return [SOURCE.randbytes(SOURCE.randint(60, 1400)) for _ in range(14)]


class RandomStream(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        for chunk in chunks():
            self.request.recv(4096)
            self.request.sendall(chunk)


class RandomDatagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request[1].sendto(SOURCE.randbytes(SOURCE.randint(20, 1200)), self.client_address)


class BencodeAnswer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request[1].sendto(bencode({"id": 7, "result": {"load": [1, 2, 3], "name": "p2"}}), self.client_address)


class Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 p2.example ESMTP\r\n")
        for line in self.rfile:
            word = line.strip().upper()[:4]
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                for text in self.rfile:
                    if text.strip() == b".":
                        break
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


def serve(server, handler, address: tuple) -> None:
    server.allow_reuse_address = True
    with server(address, handler) as running:
        print("serving", flush=True)
        running.serve_forever()


def send_stream(address: tuple) -> None:
    with socket.create_connection(address, 5) as connection:
        for chunk in chunks():
            connection.sendall(chunk[::-1])
            connection.recv(4096)


def send_datagrams(address: tuple, payloads: list[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(2)
        for payload in payloads:
            connection.sendto(payload, address)
            connection.recv(4096)


def send_mail(address: tuple) -> None:
    with smtplib.SMTP(*address, local_hostname="c1.example", timeout=5) as session:
        session.sendmail("a@c1.example", ["b@p2.example"], MAIL)


def main() -> None:
    kind, address = sys.argv[1], (sys.argv[3], int(sys.argv[2]))
    calls = [bencode({"id": number, "method": "get_status", "params": ["q", "find_me"]}) for number in range(12)]
    {
        "random-tcp-server": lambda: serve(socketserver.ThreadingTCPServer, RandomStream, address),
        "random-udp-server": lambda: serve(socketserver.UDPServer, RandomDatagram, address),
        "smtp-server": lambda: serve(socketserver.ThreadingTCPServer, Smtp, address),
        "bencode-server": lambda: serve(socketserver.UDPServer, BencodeAnswer, address),
        "random-tcp-client": lambda: send_stream(address),
        "random-udp-client": lambda: send_datagrams(address, chunks() + chunks()),
        "smtp-client": lambda: send_mail(address),
        "bencode-client": lambda: send_datagrams(address, calls),
    }[kind]()


main()
