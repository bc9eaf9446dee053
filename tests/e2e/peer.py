"""A BitTorrent client on libtorrent (Debian package python3-libtorrent), told what to do by one JSON argument.

Prints `listening`, then ten times a second `progress BYTES`, and `complete` when it holds the whole file, `dht N` when the
DHT has named N peers. Keys:
torrent, folder, address, port, peers [[address, port]], transport (tcp | utp | both),
encryption (off | plain | rc4 | ssl), certificates (with ssl: folder of peer.pem, peer.key and dh.pem),
dht (bool), dht_nodes [[address, port]], lsd (bool).
"""

import json
import sys
import time

import libtorrent

ENCRYPTION = {  # name: (policy, level): policy forced 0, enabled 1, disabled 2; level plaintext 1, RC4 2, both 3
    "off": (2, 3),
    "plain": (0, 1),
    "rc4": (0, 2),
    "ssl": (2, 3),
}


def settings(wish: dict) -> dict:
    address = f"[{wish['address']}]" if ":" in wish["address"] else wish["address"]
    policy, level = ENCRYPTION[wish.get("encryption", "off")]
    transport = wish.get("transport", "tcp")
    sealed = "s" if wish.get("encryption") == "ssl" else ""
    return {
        "listen_interfaces": f"{address}:{wish['port']}{sealed}",
        "enable_dht": wish.get("dht", False),
        "dht_bootstrap_nodes": "",
        "enable_lsd": wish.get("lsd", False),
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_tcp": transport != "utp",
        "enable_outgoing_tcp": transport != "utp",
        "enable_incoming_utp": transport != "tcp",
        "enable_outgoing_utp": transport != "tcp",
        "out_enc_policy": policy,
        "in_enc_policy": policy,
        "allowed_enc_level": level,
        "prefer_rc4": level == 2,
        "min_reconnect_time": 1,
        "peer_connect_timeout": 3,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": int(
            libtorrent.alert.category_t.status_notification
            | libtorrent.alert.category_t.error_notification
            | libtorrent.alert.category_t.dht_operation_notification
        ),
    }


def main() -> None:
    wish = json.loads(sys.argv[1])
    session = libtorrent.session(settings(wish))
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(wish["torrent"])
    parameters.save_path = wish["folder"]
    handle = session.add_torrent(parameters)
    if wish.get("encryption") == "ssl":
        files = (f"{wish['certificates']}/{name}" for name in ("peer.pem", "peer.key", "dh.pem"))
        handle.set_ssl_certificate(*files, "")
    for node in wish.get("dht_nodes", []):
        session.add_dht_node(tuple(node))
    complete = False
    ticks = 0
    while True:
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.listen_succeeded_alert):
                print("listening", alert.message(), flush=True)
            elif isinstance(alert, libtorrent.peer_connect_alert):
                print("peer", alert.message(), flush=True)
            elif isinstance(alert, libtorrent.dht_get_peers_reply_alert):
                print("dht", alert.num_peers(), flush=True)
        status = handle.status()
        if ticks % 10 == 0 and wish.get("dht"):
            session.dht_get_peers(handle.info_hash())
        if ticks % 10 == 0 and status.num_peers == 0:
            for peer in wish.get("peers", []):
                handle.connect_peer(tuple(peer))
        print("progress", status.total_done, flush=True)
        if status.is_seeding and not complete:
            complete = True
            print("complete", flush=True)
        ticks += 1
        time.sleep(0.1)


main()
