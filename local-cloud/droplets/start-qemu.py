#!/usr/bin/env python3
"""Becomes qemu, as an ordinary user of the laptop that can reach nothing but what is opened for it here.

Called by qemu.ts with one argument, JSON:
  uid      user and group that qemu runs as
  cgroups  folders of the control groups that it runs in, one a hierarchy
  disk     path of the raw file, which becomes descriptor 10
  router   network namespace in which the tap devices are
  taps     names of these, which become the descriptors 11, 12 ...
  command  qemu and its arguments
Other descriptors than 0 to 4, which the caller gives, are closed. It ends with the caller. A failure ends with one line on stderr and
exit code 1.
"""

import fcntl
import json
import os
import stat
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from launch import CLONE_NEWNET, CLONE_NEWNS, LIBC, MS_NOSUID, MS_PRIVATE, MS_REC, check, die_with_parent, mount  # noqa: E402

FIRST_DESCRIPTOR = 10
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
PR_SET_NO_NEW_PRIVS = 38
# All that qemu needs of /dev: kvm is there to be used, whoever may use it outside.
DEVICES = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "kvm": (10, 232)}


def open_tap(name):
    """The other end of the router's tap device, on which packets come and go with virtio's header."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return descriptor


def enter_network(router):
    namespace = os.open(f"/run/netns/{router}", os.O_RDONLY)
    check(LIBC.setns(namespace, CLONE_NEWNET), f"setns {router}")
    os.close(namespace)


def hide_devices(uid):
    check(LIBC.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("dev", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o600, os.makedev(major, minor))
        os.chown(f"/dev/{name}", uid, uid)


def place(descriptors):
    """Puts them at FIRST_DESCRIPTOR and after, by way of numbers that none of them can be in."""
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in descriptors]
    os.closerange(5, 100)
    for number, one in enumerate(high, FIRST_DESCRIPTOR):
        os.dup2(one, number, inheritable=True)
    os.closerange(100, 4096)
    for number in (3, 4):
        os.set_inheritable(number, True)


def main():
    parent = os.getppid()
    settings = json.loads(sys.argv[1])
    uid = settings["uid"]
    for folder in settings["cgroups"]:
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    disk = os.open(settings["disk"], os.O_RDWR)
    enter_network(settings["router"])
    taps = [open_tap(name) for name in settings["taps"]]
    check(LIBC.unshare(CLONE_NEWNET), "unshare")  # its own network is empty
    hide_devices(uid)
    place([disk, *taps])
    os.chdir("/")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    die_with_parent(parent)
    command = settings["command"]
    os.execvp(command[0], command)


if __name__ == "__main__":
    try:
        main()
    except OSError as problem:
        print(f"start-qemu.py: {problem}", file=sys.stderr)
        sys.exit(1)
