#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: peer.py DIR

What answers at the guest's network peer:
  TCP 7001  takes data until the end, answers with its SHA-256
  TCP 7002  sends 8 MiB of noise, TCP 7003 its SHA-256
  UDP 7007  sends each datagram back
Writes DIR/ready when all of them listen.
"""

import hashlib
import os
import pathlib
import socket
import sys
import threading

NOISE = os.urandom(8 << 20)
DIGEST = hashlib.sha256(NOISE).hexdigest().encode() + b"\n"


def sink(conn):
    digest = hashlib.sha256()
    while data := conn.recv(1 << 18):
        digest.update(data)
    conn.sendall(digest.hexdigest().encode() + b"\n")


def serve(conn, answer):
    # The guest may vanish at any moment: that is what some tests do.
    try:
        with conn:
            answer(conn)
    except OSError:
        pass


def listen(port, answer):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def loop():
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=serve, args=(conn, answer), daemon=True).start()

    threading.Thread(target=loop).start()


def echo(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("", port))

    def loop():
        while True:
            try:
                data, sender = sock.recvfrom(65536)
                sock.sendto(data, sender)
            except OSError:
                pass

    threading.Thread(target=loop).start()


listen(7001, sink)
listen(7002, lambda conn: conn.sendall(NOISE))
listen(7003, lambda conn: conn.sendall(DIGEST))
echo(7007)
pathlib.Path(sys.argv[1], "ready").touch()
