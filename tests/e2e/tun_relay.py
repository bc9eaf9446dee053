"""Two layer-3 (tun) devices in two network namespaces, joined by this process like the two ends of a VPN tunnel.

Usage: tun_relay.py NETNS DEVICE NETNS DEVICE
"""

import fcntl
import os
import select
import struct
import sys

from isolation import enter_netns

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def open_tun(space: str, device: str) -> int:
    enter_netns(space)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def main() -> None:
    near = open_tun(sys.argv[1], sys.argv[2])
    far = open_tun(sys.argv[3], sys.argv[4])
    other = {near: far, far: near}
    print("relaying", flush=True)
    while True:
        for source in select.select([near, far], [], [])[0]:
            try:
                os.write(other[source], os.read(source, 65536))
            except OSError:  # a device that is still down or full loses the packet, as a tunnel may
                continue


main()
