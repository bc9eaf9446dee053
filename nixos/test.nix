# Three machines: a peer behind the router, the router with btblocker, and a peer outside. A peer connection through the
# router gets the inner peer banned, and its traffic stops; a connection that is none is left alone.
{ pkgs, module }:
let
  # Both ends of a connection. With "torrent" they speak the peer protocol, otherwise they do not.
  talk = pkgs.writers.writePython3Bin "talk" { } ''
    import hashlib
    import socket
    import sys

    role, topic, address = sys.argv[1:]
    hello = b"HELO this is no peer of anybody\r\n" * 4
    after = b"NOOP\r\n"
    if topic == "torrent":
        infohash = hashlib.sha1(b"torrent").digest()
        hello = b"\x13BitTorrent protocol" + bytes(5) + b"\x10\0\5" + infohash
        after = b"\0\0\0\5\5\xff\xff\xff\xff" + b"\0\0\0\1\2"
    names = {"listen": b"-TR4050-k2mzx81hq0ap", "connect": b"-LT2080-h2v9s7ab3kqz"}
    if role == "listen":
        with socket.create_server((address, 51413)) as listener:
            while True:
                peer = listener.accept()[0]
                peer.recv(4096)
                peer.sendall(hello + names[role] + after)
    else:
        with socket.create_connection((address, 51413), 5) as peer:
            peer.settimeout(5)
            peer.sendall(hello + names[role])
            peer.recv(4096)
            peer.sendall(after)
  '';

  peer = address: gateway: vlan: {
    virtualisation.vlans = [ vlan ];
    environment.systemPackages = [ talk ];
    networking = {
      useDHCP = false;
      firewall.enable = false;
      interfaces.eth1.ipv4.addresses = pkgs.lib.mkForce [
        {
          inherit address;
          prefixLength = 24;
        }
      ];
      defaultGateway.address = gateway;
    };
  };
in
pkgs.testers.runNixOSTest {
  name = "btblocker";

  nodes = {
    inside = peer "192.168.1.2" "192.168.1.1" 1;
    outside = peer "192.168.2.2" "192.168.2.1" 2;
    router =
      { lib, ... }:
      {
        imports = [ module ];
        virtualisation.vlans = [
          1
          2
        ];
        boot.kernel.sysctl."net.ipv4.ip_forward" = 1;
        networking = {
          useDHCP = false;
          firewall.enable = false;
          interfaces.eth1.ipv4.addresses = lib.mkForce [
            {
              address = "192.168.1.1";
              prefixLength = 24;
            }
          ];
          interfaces.eth2.ipv4.addresses = lib.mkForce [
            {
              address = "192.168.2.1";
              prefixLength = 24;
            }
          ];
        };
        services.btblocker = {
          enable = true;
          interface = "eth1";
          settings.local_networks = [ "192.168.1.0/24" ];
        };
      };
  };

  testScript = ''
    start_all()
    inside.wait_for_unit("network.target")
    outside.wait_for_unit("network.target")
    router.wait_for_unit("btblocker.service")
    router.succeed("btblocker check")
    inside.wait_until_succeeds("ping -c 1 -W 1 192.168.2.2")

    with subtest("another protocol is left alone"):
        outside.succeed("systemd-run --unit=plain talk listen plain 192.168.2.2")
        outside.wait_for_open_port(51413, "192.168.2.2")
        inside.succeed("talk connect plain 192.168.2.2")
        outside.succeed("systemctl stop plain")
        inside.succeed("ping -c 3 -W 1 192.168.2.2")
        router.fail("btblocker bans | grep 192.168")

    with subtest("a peer connection leads to a ban"):
        outside.succeed("systemd-run --unit=torrent talk listen torrent 192.168.2.2")
        outside.wait_for_open_port(51413, "192.168.2.2")
        inside.execute("talk connect torrent 192.168.2.2")
        router.wait_until_succeeds("btblocker bans | grep -F 192.168.1.2", timeout=20)
        inside.fail("ping -c 3 -W 1 192.168.2.2")

    with subtest("bans outlive the daemon, and can be lifted"):
        router.succeed("systemctl restart btblocker.service")
        inside.fail("ping -c 3 -W 1 192.168.2.2")
        router.succeed("btblocker unban 192.168.1.2")
        inside.succeed("ping -c 1 -W 1 192.168.2.2")
  '';
}
