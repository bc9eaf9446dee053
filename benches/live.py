#!/usr/bin/python3
"""Live capture on a veth pair in a network namespace of its own: start-up, idle cost, cost at 100,000 packets a second,
and loss at the highest rate of the sender, by place; what an early exit in the kernel saves of it. Needs root.

    benches/live.py [BINARY [early-exit]]

With `early-exit`, that part only.
"""

import ctypes
import os
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

BINARY = sys.argv[1] if len(sys.argv) > 1 else "target/release/btblocker"
NAMESPACE = f"bench-{os.getpid()}"
FLOWS = 1000
# In turns, because the machine may have other work.
ROUNDS = 3


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def enter():
    """Goes into the namespace; what is started from then on is there, too."""
    with open(f"/run/netns/{NAMESPACE}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
            sys.exit(f"cannot enter {NAMESPACE}: {os.strerror(ctypes.get_errno())}")


class Buffer(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("buffers", ctypes.POINTER(Buffer)),
        ("buffer_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", Header), ("sent", ctypes.c_uint)]


def frames(size):
    """UDP datagrams in frames of `size` bytes, one of each of FLOWS flows."""
    length = size - 14
    for flow in range(FLOWS):
        header = struct.pack(">BBHHHBBHII", 0x45, 0, length, 0, 0x4000, 64, 17, 0, 0x0A000001 + flow, 0xC6120001)
        datagram = struct.pack(">HHHH", 20_000 + flow, 4500, length - 20, 0) + os.urandom(length - 28)
        yield bytes.fromhex("020000000001020000000002") + b"\x08\x00" + header + datagram


def sender(size, seconds, rate):
    """Sends out of v0, `rate` packets a second or as many as possible (0); prints their number, and the
    seconds and CPU seconds that it took: the kernel's work up to the receiving socket is done in its name."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind(("v0", 0))
    out.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
    buffers = [ctypes.create_string_buffer(frame, size) for frame in frames(size)]
    parts = [Buffer(ctypes.addressof(buffer), size) for buffer in buffers]
    messages = (Message * FLOWS)(*(Message(Header(buffers=ctypes.pointer(part), buffer_count=1)) for part in parts))
    libc = ctypes.CDLL(None)
    begin, sent, used = time.monotonic(), 0, time.process_time()
    while (now := time.monotonic()) < begin + seconds:
        if rate and sent > (now - begin) * rate:
            time.sleep(0.001)
            continue
        first = sent % FLOWS
        count = min(FLOWS - first, 100 if rate else FLOWS)
        sent += max(0, libc.sendmmsg(out.fileno(), ctypes.byref(messages[first]), count, 0))
    print(sent, time.monotonic() - begin, time.process_time() - used)


class Watcher:
    """The program, capturing on v1."""

    processes = []

    def __init__(self, folder, *options):
        self.log = open(f"{folder}/log", "w+")
        started = time.monotonic()
        command = [os.path.abspath(BINARY), "--interface", "v1", "--control-socket", f"{folder}/socket",
                   "--state-dir", f"{folder}/state", *options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        Watcher.processes.append(self.process)
        while "ready" not in self.text():
            if self.process.poll() is not None:
                sys.exit(self.text())
            time.sleep(0.001)
        self.start_up = time.monotonic() - started

    def text(self):
        self.log.flush()
        with open(self.log.name) as log:
            return log.read()

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        text = self.text()
        received, dropped = map(int, re.search(r"v1: (\d+) frames received, (\d+) dropped by the kernel", text).groups())
        frames, queues = map(int, re.search(r"stopped: (\d+) frames.*?(\d+) frames dropped in own", text).groups())
        return received, dropped, frames, queues


def send(size, seconds, rate):
    """Frames sent, how long that took, and how much CPU time."""
    words = run(sys.executable, "-B", __file__, "--send", str(size), str(seconds), str(rate)).split()
    return int(words[0]), float(words[1]), float(words[2])


def refusing():
    """A packet socket on v1 whose filter passes nothing: the least that any capture costs."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))  # return 0
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
    capture.bind(("v1", 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(instruction))
    capture.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
    return capture


def early_exit(folder):
    """CPU time per frame of bulk traffic with and without early exit, beyond that of sending to nobody; and of a socket
    that refuses all frames."""
    print("frame   rate       early exit  sender and kernel ns  program ns  sum ns  ended early")
    variants = {"nobody": [], "least": [], "off": ["--monitor-only"], "on": ["--monitor-only", "--early-exit"]}
    for size in (64, 1400):
        results = {variant: [] for variant in variants}
        for _ in range(ROUNDS):
            for variant, options in variants.items():
                idle = refusing() if variant == "least" else None
                watcher = Watcher(folder, *options) if options else None
                # Until flows are settled.
                send(size, 1, 0)
                before = watcher.cpu_seconds() if watcher else 0
                packets, seconds, kernel = send(size, 5, 0)
                time.sleep(0.2)
                program, early = 0, 0
                if watcher:
                    program = watcher.cpu_seconds() - before
                    received = watcher.stop()[0]
                    early = int(re.search(r"(\d+) ended early", watcher.text()).group(1))
                    early /= early + received
                if idle:
                    idle.close()
                least = results["nobody"][-1][1] if variant != "nobody" else 0
                figures = kernel / packets * 1e9, program / packets * 1e9
                results[variant].append((packets / seconds, figures[0], figures[0] - least, figures[1], early))
        for variant, rounds in results.items():
            rate, whole, kernel, program, early = map(statistics.median, zip(*rounds))
            print(f"{size:<7} {rate:<10.0f} {variant:<11} {whole if variant == 'nobody' else kernel:>20.0f} {program:>11.0f} "
                  f"{kernel + program:>7.0f} {early:>12.1%}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        run("ip", "netns", "add", NAMESPACE)
        try:
            enter()
            run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
            for end in ("v0", "v1", "lo"):
                run("ip", "link", "set", end, "up")
            if sys.argv[2:] == ["early-exit"]:
                early_exit(folder)
                return
            starts = []
            for _ in range(20):
                watcher = Watcher(folder, "--backend", "ipset")
                starts.append(watcher.start_up)
                watcher.stop()
            print(f"start-up until ready, {len(starts)} times: {min(starts) * 1000:.0f} to {max(starts) * 1000:.0f} ms, "
                  f"median {statistics.median(starts) * 1000:.0f}")
            watcher = Watcher(folder, "--monitor-only")
            before = watcher.cpu_seconds()
            time.sleep(10)
            print(f"idle: {(watcher.cpu_seconds() - before) * 10:.1f} % of one core")
            watcher.stop()
            print("frame   rate       workers  sent      kernel dropped  own queues dropped  CPU share  CPU ns/frame")
            for size in (64, 1400):
                for rate in (100_000, 0):
                    for workers in (0, 1, 2):
                        watcher = Watcher(folder, "--monitor-only", "--workers", str(workers))
                        before = watcher.cpu_seconds()
                        packets, seconds, _ = send(size, 5, rate)
                        time.sleep(0.2)
                        used = watcher.cpu_seconds() - before
                        _, dropped, _, queues = watcher.stop()
                        print(f"{size:<7} {packets / seconds:<10.0f} {workers:<8} {packets:<9} "
                              f"{dropped / packets:>13.3%} {queues / packets:>19.3%} {used / seconds:>10.0%} "
                              f"{used / packets * 1e9:>13.0f}")
            early_exit(folder)
        finally:
            for process in Watcher.processes:
                process.terminate()
            run("ip", "netns", "del", NAMESPACE)


if sys.argv[1:2] == ["--send"]:
    sender(*map(int, sys.argv[2:]))
else:
    main()
