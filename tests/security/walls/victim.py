"""What there is to take of a site: it says its canary on every channel that a process has, and waits.

Usage: victim.py PLACES.json      writes into this file where all of it is
  environment: CANARY (32 hex digits), NAME (of the abstract socket), KEY (a number, of the shared memory)
"""

import ctypes
import json
import os
import socket
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
IPC_CREAT = 0o1000


def main(path):
    canary, key = os.environ["CANARY"].encode(), int(os.environ["KEY"])
    memory = ctypes.create_string_buffer(canary)
    os.umask(0)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        with open(f"{folder}/of-{os.environ['NAME']}", "wb") as file:
            file.write(canary)
    shared = LIBC.shmget(key, 4096, IPC_CREAT | 0o666)
    if shared < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    ctypes.memmove(LIBC.shmat(shared, None, 0), canary, len(canary))
    sockets = os.path.dirname(path) + "/socket", f"/tmp/socket-{os.environ['NAME']}"
    for address in (f"\0{os.environ['NAME']}", *sockets):
        if not address.startswith("\0") and os.path.exists(address):
            os.unlink(address)
        serve(address, canary)
    held = os.open(path + ".held", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(held, canary)
    places = {"pid": os.getpid(), "memory": ctypes.addressof(memory), "held": held, "sockets": sockets}
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(places, file)
    os.rename(path + ".new", path)
    threading.Event().wait()


def serve(address, canary):
    """Answers everybody who connects."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()

    def loop():
        while True:
            connection, _ = listener.accept()
            connection.recv(64)
            connection.sendall(canary)
            connection.close()

    threading.Thread(target=loop, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
