#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: peer.py DIR

What answers at the guest's network peer:
  TCP 7001  takes data until the end, answers with its SHA-256
  TCP 7002  sends 8 MiB of noise, TCP 7003 its SHA-256; 7005 and 7006 the same with the first MiB,
              7010 and 7011 with 128 KiB
  TCP 7004  takes one line:
              send MAC COUNT [VLAN]  sends frames without a protocol, to this address, and
                                     in this VLAN; answers "sent"
              watch                  answers "watching"
              seen                   the frames without a protocol that came since "watch": a
                                     line each, "SOURCE DESTINATION VLAN|- BYTES"
              room COUNT             so many frames may wait for the VMM from now on (500 at
                                     first), the others are dropped; answers "there"
              forget                 forgets who has which address; answers "forgotten"
  UDP 7007  sends each datagram back
  UDP 7009  takes datagrams and says nothing
Writes DIR/ready when all of them listen.
"""

import ctypes
import hashlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading

NOISE = os.urandom(8 << 20)
LITTLE = NOISE[: 1 << 20]


def served(data):
    """What sends this and, for the next port, what sends its digest."""
    digest = hashlib.sha256(data).hexdigest().encode() + b"\n"
    return lambda conn: conn.sendall(data), lambda conn: conn.sendall(digest)


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


TAP = "tap0"
# For experiments: nobody takes it.
PROTOCOL = 0x88B5
VLAN = 0x8100
SOL_PACKET, PACKET_AUXDATA, VLAN_VALID = 263, 8, 0x10
SO_ATTACH_FILTER = 26
# ldh [12]; jeq #PROTOCOL, 0, 1; ret #-1; ret #0
FILTER = struct.pack("HBBI" * 4, 0x28, 0, 0, 12, 0x15, 0, 1, PROTOCOL, 0x6, 0, 0, 0xFFFFFFFF, 0x6, 0, 0, 0)
watchers = []


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def watch():
    """Begins to gather the frames of our protocol. Only on demand: it costs every frame time."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    code = ctypes.create_string_buffer(FILTER)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setblocking(False)
    sock.bind((TAP, 3))
    watchers.append(sock)


def seen():
    """What was gathered; the kernel takes a tag out of the frame and tells it beside."""
    with watchers.pop() as sock:
        while True:
            try:
                frame, control, _, sender = sock.recvmsg(65536, 64)
            except BlockingIOError:
                return
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            tag = "-"
            for level, kind, data in control:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, tci = struct.unpack_from("I12xH", data)
                    tag = tci if status & VLAN_VALID else "-"
            yield f"{frame[6:12].hex(':')} {frame[:6].hex(':')} {tag} {len(frame)}\n"


def frames(conn):
    command, *rest = conn.makefile().readline().split()
    if command == "watch":
        watch()
        conn.sendall(b"watching\n")
    elif command == "seen":
        conn.sendall("".join(seen()).encode())
    elif command == "send":
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((TAP, PROTOCOL))
            tag = struct.pack(">HH", VLAN, int(rest[2])) if len(rest) > 2 else b""
            frame = mac(rest[0]) + mac("02:00:00:00:00:77") + tag + struct.pack(">H", PROTOCOL) + b"\xa5" * 86
            for _ in range(int(rest[1])):
                sock.send(frame)
        conn.sendall(b"sent\n")
    elif command == "room":
        subprocess.run(["ip", "link", "set", TAP, "txqueuelen", str(int(rest[0]))], check=True)
        conn.sendall(b"there\n")
    elif command == "forget":
        subprocess.run(["ip", "neigh", "flush", "dev", TAP], check=True)
        conn.sendall(b"forgotten\n")


def listen(port, answer):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def loop():
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=serve, args=(conn, answer), daemon=True).start()

    threading.Thread(target=loop).start()


def echo(port, back=True):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("", port))

    def loop():
        while True:
            try:
                data, sender = sock.recvfrom(65536)
                if back:
                    sock.sendto(data, sender)
            except OSError:
                pass

    threading.Thread(target=loop).start()


listen(7001, sink)
for port, data in (7002, NOISE), (7005, LITTLE), (7010, NOISE[: 128 << 10]):
    for offset, action in enumerate(served(data)):
        listen(port + offset, action)
listen(7004, frames)
echo(7007)
echo(7009, back=False)
pathlib.Path(sys.argv[1], "ready").touch()
