"""One BitTorrent peer of `ft bench cluster --peers`.

    torrent.py seed IP DIR TORRENT          makes TORRENT of DIR and seeds it
    torrent.py leech IP DIR TORRENT PEER... fetches it into DIR from these peers once stdin says "go"

Prints "ready", and "done" when everything is there and verified. Ends with stdin.
"""

import os
import sys
import time

import libtorrent as lt

PORT = 6881
PIECE_BYTES = 256 * 1024

role, ip, directory, torrent_file, *peers = sys.argv[1:]

session = lt.session({
    "listen_interfaces": f"{ip}:{PORT}",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # TCP alone: uTP yields to other traffic, and there is none here.
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "connection_speed": 500,
    # What follows brought T from 2.0-2.2 to 1.4-1.8 times the bound.
    "unchoke_interval": 2,
    "initial_picker_threshold": 0,
    "request_queue_time": 1,
    "max_out_request_queue": 64,
})

if role == "seed":
    storage = lt.file_storage()
    lt.add_files(storage, directory)
    made = lt.create_torrent(storage, piece_size=PIECE_BYTES)
    lt.set_piece_hashes(made, os.path.dirname(directory))
    with open(torrent_file, "wb") as file:
        file.write(lt.bencode(made.generate()))
    directory = os.path.dirname(directory)
else:
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        sys.exit(1)

params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent_file)
params.save_path = directory
if role == "seed":
    params.flags |= lt.torrent_flags.seed_mode
handle = session.add_torrent(params)
for peer in peers:
    handle.connect_peer((peer, PORT))
while not handle.status().is_seeding:
    time.sleep(0.01)
print("done" if role == "leech" else "ready", flush=True)
sys.stdin.read()
