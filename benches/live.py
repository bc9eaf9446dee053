#!/usr/bin/python3
"""Live capture on a veth pair in a network namespace of its own: start-up, idle cost, cost at 100,000 packets a second,
and loss at the highest rate of the sender, by place. Needs root and tcpreplay (Debian package of that name).

    benches/live.py [BINARY]
"""

import os
import re
import struct
import subprocess
import sys
import tempfile
import time

BINARY = sys.argv[1] if len(sys.argv) > 1 else "target/release/btblocker"
NAMESPACE = f"bench-{os.getpid()}"
FLOWS = 1000


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(*command):
    return run("ip", "netns", "exec", NAMESPACE, *command)


def capture_file(folder, size, packets=50_000):
    """UDP datagrams in frames of `size` bytes, in FLOWS flows."""
    path = f"{folder}/{size}.pcap"
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(packets):
            flow = number % FLOWS
            length = size - 14
            header = struct.pack(">BBHHHBBHII", 0x45, 0, length, 0, 0x4000, 64, 17, 0, 0x0A000001 + flow, 0xC6120001)
            datagram = struct.pack(">HHHH", 20_000 + flow, 4500, length - 20, 0) + os.urandom(length - 28)
            frame = bytes.fromhex("020000000001020000000002") + b"\x08\x00" + header + datagram
            file.write(struct.pack("<IIII", 1_700_000_000, number % 1_000_000, len(frame), len(frame)) + frame)
    return path


class Watcher:
    """The program, capturing on v1 without bans."""

    def __init__(self, folder, *options):
        self.log = open(f"{folder}/log", "w+")
        started = time.monotonic()
        command = [os.path.abspath(BINARY), "--interface", "v1", "--backend", "dry-run", "--monitor-only", *options]
        self.process = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *command], stdout=self.log, stderr=self.log)
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


def send(path, seconds, *rate):
    """Frames sent and the rate that was reached."""
    out = inside("tcpreplay", "--intf1=v0", "--preload-pcap", "--loop=0", f"--duration={seconds}", *rate, path)
    packets = int(re.search(r"Actual: (\d+) packets", out)[1])
    return packets, float(re.search(r"([\d.]+) pps", out)[1])


def main():
    with tempfile.TemporaryDirectory() as folder:
        run("ip", "netns", "add", NAMESPACE)
        try:
            inside("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
            for end in ("v0", "v1", "lo"):
                inside("ip", "link", "set", end, "up")
            starts = []
            for _ in range(5):
                watcher = Watcher(folder)
                starts.append(watcher.start_up)
                watcher.stop()
            print(f"start-up until ready: {min(starts) * 1000:.0f} ms")
            watcher = Watcher(folder)
            before = watcher.cpu_seconds()
            time.sleep(10)
            print(f"idle: {(watcher.cpu_seconds() - before) * 10:.1f} % of one core")
            watcher.stop()
            print("frame   rate       workers  sent      kernel dropped  own queues dropped  CPU share")
            for size in (64, 1400):
                path = capture_file(folder, size)
                for rate in (["--pps=100000"], ["--topspeed"]):
                    for workers in (0, 1, 2):
                        watcher = Watcher(folder, "--workers", str(workers))
                        before = watcher.cpu_seconds()
                        packets, reached = send(path, 5, *rate)
                        time.sleep(0.2)
                        share = (watcher.cpu_seconds() - before) / (packets / reached)
                        _, dropped, _, queues = watcher.stop()
                        print(f"{size:<7} {reached:<10.0f} {workers:<8} {packets:<9} {dropped / packets:>12.3%} "
                              f"{queues / packets:>18.3%} {share:>11.0%}")
        finally:
            run("ip", "netns", "del", NAMESPACE)


main()
