"""Tries to reach the metadata service in every way that is known, as whoever runs it. Root's raw packets are among them.

Usage: metadata.py [WAY...]      all of them by default; prints {way: what came of it}
  CARD: the network card (default eth0)

Each way ends in a packet that leaves this host, unless a wall stops it. Whether one did, the network outside counts.
"""

import errno
import json
import os
import socket
import struct
import sys
import urllib.parse

ADDRESS = "169.254.169.254"
CARD = os.environ.get("CARD", "eth0")
IP_UNICAST_IF, IP_PKTINFO, IP_OPTIONS, SO_MARK, SO_BINDTODEVICE = 50, 8, 4, 36, 25
# As a URL may say it: curl, Python and browsers understand one or the other.
SPELLINGS = (
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "169.0xfe.0251.254",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "169.254.169.254.",
)
WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


def ask(connection, address=(ADDRESS, 80)):
    """The first packet leaves at once, or never does; nobody waits for the answer."""
    connection.setblocking(False)
    code = connection.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))


def with_option(level, name, value):
    with socket.socket() as connection:
        connection.setsockopt(level, name, value)
        ask(connection)


def spelled(host):
    url = urllib.parse.urlsplit(f"http://{host}/")
    name = (url.hostname or "").removesuffix(".")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    with socket.socket(family) as connection:
        # inet_aton is what C programs use: it takes octal, hexadecimal and fewer parts.
        ask(connection, (name if family == socket.AF_INET6 else socket.inet_ntoa(socket.inet_aton(name)), 80))


@way
def bind_to_device():
    with_option(socket.SOL_SOCKET, SO_BINDTODEVICE, CARD.encode())


@way
def unicast_interface():
    with_option(socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack("!I", socket.if_nametoindex(CARD)))


@way
def mark():
    with_option(socket.SOL_SOCKET, SO_MARK, struct.pack("I", 7))


@way
def loose_source_route():
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, bytes([131, 7, 4]) + socket.inet_aton(ADDRESS) + b"\0")
        ask(connection)


@way
def packet_information():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        chosen = struct.pack("=I4s4s", socket.if_nametoindex(CARD), bytes(4), bytes(4))
        connection.sendmsg([b"x"], [(socket.IPPROTO_IP, IP_PKTINFO, chosen)], 0, (ADDRESS, 80))


@way
def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", (ADDRESS, 80))


@way
def datagram_like_dhcp():
    """The ports that DHCP has, to the one address that is no DHCP server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", 68))
        connection.sendto(b"x", (ADDRESS, 67))


@way
def fast_open():
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, (ADDRESS, 80))


@way
def ping():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as connection:
        connection.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1), (ADDRESS, 0))


@way
def raw_ip():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as connection:
        connection.sendto(ip_packet(), (ADDRESS, 0))


@way
def raw_frame():
    """Past all of the network's own hooks, to the gateway's card."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as connection:
        connection.bind((CARD, 0x0800))
        connection.send(frame_head() + ip_packet())


def frame_head():
    with open(f"/sys/class/net/{CARD}/address", encoding="utf-8") as file:
        own = bytes.fromhex(file.read().strip().replace(":", ""))
    return b"\xff" * 6 + own + b"\x08\x00"


def ip_packet():
    """UDP without anything in it; the kernel outside counts it whatever its checksums."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton(own_address()), socket.inet_aton(ADDRESS))
    words = struct.unpack("!10H", head)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", 1024, 80, 8, 0)


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.connect(("198.18.0.1", 9))
        return connection.getsockname()[0]


def main():
    tried = {f"spelled {host}": lambda host=host: spelled(host) for host in SPELLINGS} | WAYS
    said = {}
    for name in sys.argv[1:] or tried:
        try:
            tried[name]()
            said[name] = "sent"
        except OSError as error:
            said[name] = str(error)
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
