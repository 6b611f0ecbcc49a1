"""The walls around one process of a site: what it runs in cannot be left, and every program that it starts is inside as well.

`chillbox-confine` and the zygote's children (zygote_child.py) are the two that use this, so that both mean the same. The caller is root,
and the site's user afterwards. These are system calls and no programs such as unshare, mount and setpriv: none of those knows Landlock's
scopes, without which the abstract sockets of all sites would be one room, and a child of the zygote could not start any.
"""

import ctypes
import errno
import os
import pwd
import resource
import struct

SECRETS = "/run/tmp/chillbox_secrets"
# The tables that a site may not run without: chillbox-ports loads the first, the image's metadata-wall the second.
TABLES = ("chillbox_sites", "chillbox_metadata")
# Own, empty and gone with the service. Bounded, because what lies there is memory of the server. /var/tmp is /tmp.
PRIVATE = (("/tmp", "mode=1777,size=256m,nr_inodes=20000"), ("/dev/shm", "mode=1777,size=64m,nr_inodes=2000"))  # noqa: S108
# The names of all control groups tell what every site runs; nothing of a site needs them.
CONTROL_GROUPS = "/sys/fs/cgroup"
# A core file would put a site's secrets on the disk. Processes are counted for each user: all services of a site together.
LIMITS = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 8192), (resource.RLIMIT_NPROC, 1024))

# From linux/mount.h, prctl.h, landlock.h, socket.h, netlink.h, netfilter/nf_tables.h, bpf_common.h, seccomp.h and audit.h.
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 23, 24, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
BIND_TCP, SCOPE_ABSTRACT_SOCKETS, RULE_NET_PORT = 1, 1, 2
AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER = 16, 3, 12
NFT_MSG_GETTABLE, NFTA_TABLE_NAME, NFPROTO_INET, NLM_F_REQUEST, NLMSG_ERROR = 10 << 8 | 1, 1, 1, 1, 2
NETLINK_SOCK_DIAG, IO_URING_SETUP, MODE_FILTER = 4, 425, 2
LOAD, EQUAL, AT_LEAST, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x35, 0x06, 0x7FFF0000, 0x00050000
# By machine: what the kernel calls it, and the number of its system call socket.
MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}

LIBC = ctypes.CDLL(None, use_errno=True)


def confine(user, secrets=None, network=True):
    """Puts the calling process behind its walls and makes it the user's. Raises OSError, or KeyError where there is no such user.

    secrets: the one folder of secrets that it sees, "<slug>/<service>", or "<slug>" for those of all services of the site; it need not be
    there yet. network: False leaves it without any.
    """
    account = pwd.getpwnam(user)
    if account.pw_uid == 0 or account.pw_gid == 0:
        raise OSError(f"{user} is root")
    if network:
        check_tables()
    for kind, most in LIMITS:
        limit(kind, most)
    os.unshare(os.CLONE_NEWNS | os.CLONE_NEWIPC | (0 if network else os.CLONE_NEWNET))
    # Whatever folders lead to the secrets can be passed, not listed.
    os.umask(0o066)
    make_private_folders(secrets, account)
    os.umask(0o077)
    drop_capabilities()
    os.setgroups([account.pw_gid])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    control(PR_SET_NO_NEW_PRIVS, 1)
    restrict_sockets()
    refuse_lists_of_sockets()


def check_tables():
    """Raises OSError if one of the two walls in the network is down. It asks the kernel itself, since starting nft takes longer than all else here."""
    kernel = checked(LIBC.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), "socket")
    for name in TABLES:
        text = name.encode() + b"\0"
        attribute = struct.pack("=HH", 4 + len(text), NFTA_TABLE_NAME) + text + bytes(-len(text) % 4)
        body = struct.pack("=BBH", NFPROTO_INET, 0, 0) + attribute
        os.write(kernel, struct.pack("=IHHII", 16 + len(body), NFT_MSG_GETTABLE, NLM_F_REQUEST, 0, 0) + body)
        if struct.unpack_from("=H", os.read(kernel, 8192), 4)[0] == NLMSG_ERROR:
            raise OSError(f"the wall {name} is down, without which no site runs: doas rc-service chillbox restart")
    os.close(kernel)


def limit(kind, most):
    """Never more than there was."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


def make_private_folders(secrets, account):
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    for path, options in PRIVATE:
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options)
    mount("/tmp", "/var/tmp", None, MS_BIND)  # noqa: S108
    if os.path.isdir(CONTROL_GROUPS):
        mount("tmpfs", CONTROL_GROUPS, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=555,size=4k,nr_inodes=1")
    own = open_secrets(secrets, account) if secrets else None
    if not os.path.isdir(SECRETS):
        return
    mount("tmpfs", SECRETS, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=711,size=16k,nr_inodes=8")
    if own is not None:
        target = f"{SECRETS}/{secrets}"
        os.makedirs(target)
        # What is renamed into it later is seen here, too.
        mount(f"/proc/self/fd/{own}", target, None, MS_BIND)
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.close(own)


def open_secrets(secrets, account):
    """The folder of secrets, made if it is missing: a file descriptor, since the way to it is about to be covered.

    Only root makes anything in the folders above, so that none of these is a link. The same owners and modes are lib/secrets.sh's.
    """
    slug, _, service = secrets.partition("/")
    own_folder(f"{SECRETS}/{slug}", 0o710, 0, account.pw_gid)
    if service:
        own_folder(f"{SECRETS}/{secrets}", 0o700, account.pw_uid, account.pw_gid)
    return os.open(f"{SECRETS}/{secrets}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def own_folder(path, mode, uid, gid):
    os.makedirs(path, mode, exist_ok=True)
    os.chown(path, uid, gid)


def drop_capabilities():
    """No program started from here may ever gain one. The kernel knows no capability from the first that cannot be read."""
    number = 0
    while LIBC.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        control(PR_CAPBSET_DROP, number)
        number += 1


def restrict_sockets():
    """Landlock: abstract sockets reach no further than what this process starts; TCP ports are for chillbox to hold (0: any that is free).

    Otherwise a site could take the port of another one's service that is down. A kernel that lacks a part of it (before 6.12) goes without.
    """
    abi = LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    if abi < 4:
        return
    attributes = struct.pack("=QQQ", 0, BIND_TCP, SCOPE_ABSTRACT_SOCKETS if abi >= 6 else 0)
    rules = checked(LIBC.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes) if abi >= 6 else 16, 0), "landlock_create_ruleset")
    any_free = struct.pack("=QQ", BIND_TCP, 0)
    checked(LIBC.syscall(LANDLOCK_ADD_RULE, rules, RULE_NET_PORT, any_free, 0), "landlock_add_rule")
    checked(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    os.close(rules)


def refuse_lists_of_sockets():
    """Seccomp: the kernel tells nobody here what is connected to what on this server. The same lists in /proc/net are root's (chillbox-tree).

    Calls in the ways of other machines would have other numbers, and io_uring makes sockets without a call that a filter sees.
    """
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(f"the numbers of the system calls of {machine} are not known here")
    kind, number_of_socket = MACHINES[machine]
    # Each word: what to do, how many words to skip if it is so, if it is not, and with which number. The offsets are those of seccomp_data.
    words = (
        (LOAD, 0, 0, 4),
        (EQUAL, 0, 10, kind),
        (LOAD, 0, 0, 0),
        (AT_LEAST, 8, 0, 1 << 30),
        (EQUAL, 7, 0, IO_URING_SETUP),
        (EQUAL, 0, 5, number_of_socket),
        (LOAD, 0, 0, 16),
        (EQUAL, 0, 3, AF_NETLINK),
        (LOAD, 0, 0, 32),
        (EQUAL, 0, 1, NETLINK_SOCK_DIAG),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | errno.ENOSYS),
    )
    filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *word) for word in words))
    program = struct.pack("@HP", len(words), ctypes.addressof(filters))
    checked(LIBC.prctl(PR_SET_SECCOMP, MODE_FILTER, program, 0, 0), "prctl seccomp")


def mount(source, target, kind, flags, options=None):
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    checked(LIBC.mount(*words, ctypes.c_ulong(flags), None if options is None else options.encode()), f"mount {target}")


def control(option, value):
    checked(LIBC.prctl(option, value, 0, 0, 0), f"prctl {option}")


def checked(result, what):
    """@returns the result of a system call. Raises OSError if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
