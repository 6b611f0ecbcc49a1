#!/usr/bin/env python3
"""Runs one droplet in namespaces of its own, until its init ends or the caller goes away.

The droplet's root is user 0 of a USER NAMESPACE, an unprivileged user of the laptop: whatever of the laptop's clock, modules,
sysctls, devices and kernel log asks for real root is out of its reach by the kernel's own rules, not by a list of ours. Its disk is
mounted "idmapped" (mount_setattr(2)), so that files keep their plain owners on it and the same disk boots on a real machine.

Called by driver.ts, which owns everything that lasts longer than one boot (disk, control groups, network).

First line on stdin, JSON:
  disk       path of the raw ext4 file
  mountPoint existing empty folder; the mount is seen by this process and the droplet only
  uidBase    first of the 65536 users and groups of the laptop that the droplet's 0..65535 are
  hostname   name until the image sets its own
  cgroups    folders of the control groups that the droplet runs in, one a hierarchy; cgroupRoots: where these are mounted
  cgroupVersion  1 or 2
  console    path of the console's log; consoleLimit: bytes of it to keep at least (one older file of that size stays beside it)
Then commands, one a line: `start` (once, after `created`), `poweroff` (asks init), `kill` (pulls the plug). End of input pulls the plug.

Lines on stdout, JSON: {"event":"created","pid":N}: namespaces are there, init waits for `start`;
{"event":"ended","how":"reboot"|"poweroff"|"killed"|"exited"}: nothing runs any more and the disk is unmounted.
A failure ends with one line on stderr and exit code 1.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LIBC = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock during the call: clone(2) below continues in the same interpreter, which must own its lock.
LIBC_LOCKED = ctypes.PyDLL(None, use_errno=True)

CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOUNT_ATTR_IDMAP = 0x00100000
MOVE_MOUNT_F_EMPTY_PATH = 0x00000004

PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 22, 2

# The same on every architecture (asm-generic/unistd.h came before them).
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
# (audit architecture, clone, pivot_root, syslog)
ARCHITECTURES = {
    "x86_64": (0xC000003E, 56, 155, 103),
    "aarch64": (0xC00000B7, 220, 41, 116),
}

ID_COUNT = 65536
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CONSOLE_CHUNK = 65536


def check(result, what):
    """Raises OSError that names the call when a libc function has answered -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def architecture():
    try:
        return ARCHITECTURES[platform.machine()]
    except KeyError:
        raise OSError(f"droplets are not supported on {platform.machine()} machines") from None


def mount(source, target, kind, flags=0, data=None):
    encode = lambda text: text.encode() if text else None  # noqa: E731
    check(LIBC.mount(encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data)), f"mount on {target}")


def die_with_parent(parent):
    """SIGKILL for this process when its parent ends; `parent` is the expected pid, which may be gone already."""
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if parent and os.getppid() != parent:
        os._exit(1)


# --- the laptop's side -------------------------------------------------------------------------------------------------------


def make_user_namespace(uid_base):
    """A user namespace in which 0..65535 are `uid_base`.. outside; answers its file descriptor."""
    ready_read, ready_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(parent)
        try:
            check(LIBC.unshare(CLONE_NEWUSER), "unshare")
            os.write(ready_write, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(ready_write)
    try:
        if os.read(ready_read, 1) != b"1":
            raise OSError("the kernel refuses user namespaces (see /proc/sys/user/max_user_namespaces)")
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{kind}", "w", encoding="ascii") as file:
                file.write(f"0 {uid_base} {ID_COUNT}\n")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def reserved_for(disk):
    """User and group that may use the last blocks of an ext4 file system: its superblock's s_def_resuid and s_def_resgid."""
    with open(disk, "rb") as file:
        file.seek(1024 + 0x50)
        return struct.unpack("<HH", file.read(4))


def mount_disk(disk, mount_point, user_namespace, uid_base):
    """Mounts the disk, twice: as it is, and on top of that with the owners shifted into the user namespace.

    `nodev`: an image may bring a device node of the laptop's own disk, and the superblock is not the droplet's.
    `noinit_itable`: else the kernel writes zeros into every empty inode table, which fills the sparse file.
    `errors`: an image may ask for the kernel to panic when its file system is damaged.
    `resuid`, `resgid`: the kernel compares them with the laptop's users, whom the droplet's are out here.
    """
    user, group = reserved_for(disk)
    options = f"loop,nodev,noinit_itable,errors=remount-ro,resuid={uid_base + user},resgid={uid_base + group}"
    subprocess.run(["mount", "-t", "ext4", "-o", options, disk, mount_point], check=True, stdout=sys.stderr)
    tree = check(
        LIBC.syscall(SYS_OPEN_TREE, AT_FDCWD, mount_point.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree"
    )
    attributes = struct.pack("=QQQQ", MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    check(
        LIBC.syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, buffer, ctypes.c_size_t(len(attributes))),
        "mount_setattr (idmapped mounts need Linux 5.12)",
    )
    check(
        LIBC.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, mount_point.encode(), MOVE_MOUNT_F_EMPTY_PATH), "move_mount"
    )
    os.close(tree)


def unmount_disk(mount_point):
    """Unmounts both layers. The droplet's own copy of the mounts goes away a moment after its last process."""
    deadline = time.monotonic() + 5
    layers = 2
    while layers:
        if LIBC.umount2(mount_point.encode(), 0) == 0:
            layers -= 1
        elif time.monotonic() > deadline:
            LIBC.umount2(mount_point.encode(), MNT_DETACH)
            layers -= 1
        else:
            time.sleep(0.01)


def clone_init(user_namespace):
    """Like fork(2), but the child is process 1 of new namespaces that belong to the user namespace.

    A helper in between joins the user namespace and clones with CLONE_PARENT: so all namespaces have the right owner, and yet this
    process is the parent, which reboot(2) inside tells by a signal. Answers 0 in the child.
    """
    clone = architecture()[1]
    pid_read, pid_write = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            check(LIBC.setns(user_namespace, CLONE_NEWUSER), "setns")
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            flags = CLONE_PARENT | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC
            pid = LIBC_LOCKED.syscall(clone, ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0)
            if pid == 0:
                return 0
            check(pid, "clone")
            os.write(pid_write, str(pid).encode())
            status = 0
        except OSError as error:
            print(error, file=sys.stderr)
        os._exit(status)
    os.close(pid_write)
    os.waitpid(helper, 0)
    text = os.read(pid_read, 32)
    os.close(pid_read)
    if not text:
        raise OSError("the droplet's namespaces could not be made")
    assert os.getpid() == parent
    return int(text)


class Console:
    """Copies the droplet's console to a file that stays small."""

    def __init__(self, path, limit):
        self.path, self.limit = path, limit
        self.file = open(path, "ab", buffering=0)

    def copy(self, descriptor):
        """Copies what is there now."""
        try:
            data = os.read(descriptor, CONSOLE_CHUNK)
        except OSError:  # EIO: nobody has the other side open at the moment
            return False
        if self.file.tell() + len(data) > self.limit:
            self.file.close()
            os.replace(self.path, self.path + ".old")
            self.file = open(self.path, "ab", buffering=0)
        self.file.write(data)
        return bool(data)


# --- the droplet's side ------------------------------------------------------------------------------------------------------


def bind_file(source, target):
    with open(target, "w", encoding="ascii"):
        pass
    mount(source, target, None, MS_BIND)


def fill_dev(dev, console):
    mount("dev", dev, "tmpfs", MS_NOSUID, "mode=755,size=1m")
    for name in DEVICES:
        bind_file(f"/dev/{name}", f"{dev}/{name}")
    bind_file(console, f"{dev}/console")
    os.mkdir(f"{dev}/pts")
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.mkdir(f"{dev}/shm")
    mount("shm", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")


def mount_cgroups(target, version, roots):
    """The droplet's own part of the control groups, so that it can limit its services as on a real machine."""
    if version == 2:
        mount("none", target, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        return
    mount("cgroup_root", target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=1m")
    for controller in map(os.path.basename, roots):
        os.mkdir(f"{target}/{controller}")
        mount(controller, f"{target}/{controller}", "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, controller)


def enter_root(root, settings, console):
    # A mount that came in from the parent's namespace is locked; pivot_root(2) wants one of our own.
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    mount_cgroups(f"{root}/sys/fs/cgroup", settings["cgroupVersion"], settings["cgroupRoots"])
    fill_dev(f"{root}/dev", console)
    mount("run", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.chdir(root)
    check(LIBC.syscall(architecture()[2], b".", b"."), "pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount of the laptop's root")
    os.chdir("/")


def forbid_kernel_log():
    """syslog(2) reads the laptop's kernel log and asks for no privilege unless kernel.dmesg_restrict is set there.

    A filter: other system call tables (32-bit, x32) get ENOSYS, syslog EPERM, the rest passes.
    """
    audit, _, _, syslog = architecture()
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, no_such_call, forbidden = 0x7FFF0000, 0x00050000 | 38, 0x00050000 | 1
    program = [
        (load, 0, 0, 4),
        (equal, 0, 4, audit),
        (load, 0, 0, 0),
        (at_least, 2, 0, 0x40000000),
        (equal, 2, 0, syslog),
        (answer, 0, 0, allow),
        (answer, 0, 0, no_such_call),
        (answer, 0, 0, forbidden),
    ]
    instructions = b"".join(struct.pack("=HBBI", *step) for step in program)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(code))
    check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0), "seccomp")


def run_init(settings, console, from_parent, to_parent):
    """The child: waits, builds its world, waits again, becomes the image's init. Never returns."""
    die_with_parent(0)
    os.read(from_parent, 1)  # it is in its control groups now, so that these are the root of the namespace
    check(LIBC.unshare(CLONE_NEWCGROUP), "unshare")
    os.setsid()
    descriptor = os.open(console, os.O_RDWR)
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    name = settings["hostname"].encode()
    check(LIBC.sethostname(name, ctypes.c_size_t(len(name))), "sethostname")
    enter_root(settings["mountPoint"], settings, console)
    os.write(to_parent, b"1")
    if os.read(from_parent, 1) != b"1":
        os._exit(1)
    for number in range(3):
        os.dup2(descriptor, number)
    os.closerange(3, 4096)
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    forbid_kernel_log()
    # OpenRC takes a machine whose process 1 has this for a container, and leaves the kernel's and the hardware's matters alone.
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "linux", "container": "lxc"}
    os.execve("/sbin/init", ["/sbin/init"], environment)


# --- both --------------------------------------------------------------------------------------------------------------------


def report(**event):
    print(json.dumps(event), flush=True)


def how_it_ended(status):
    """reboot(2) in a pid namespace ends its process 1 with SIGHUP (restart) or SIGINT (halt, power off): pid_namespaces(7)."""
    if os.WIFSIGNALED(status):
        return {signal.SIGHUP: "reboot", signal.SIGINT: "poweroff"}.get(os.WTERMSIG(status), "killed")
    return "exited"


def supervise(init, master, console, to_init):
    """Copies the console and obeys commands until init has ended; answers how it did."""
    process = os.pidfd_open(init)
    poller = select.poll()
    for descriptor in (process, master, 0):
        poller.register(descriptor, select.POLLIN)
    commands = {
        b"start": lambda: os.write(to_init, b"1"),
        b"poweroff": lambda: signal.pidfd_send_signal(process, signal.SIGUSR2),
        b"kill": lambda: signal.pidfd_send_signal(process, signal.SIGKILL),
    }
    pending = b""
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == master and not console.copy(master):
                time.sleep(0.05)  # nobody has it open: poll(2) would answer at once, over and over
            elif descriptor == process:
                while select.select([master], [], [], 0)[0] and console.copy(master):
                    pass
                return how_it_ended(os.waitpid(init, 0)[1])
            elif descriptor == 0:
                data = os.read(0, 4096)
                if not data:
                    poller.unregister(0)
                    commands[b"kill"]()
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    with contextlib.suppress(ProcessLookupError):
                        commands.get(line.strip(), lambda: None)()


def read_settings():
    """The first line, byte by byte: what follows belongs to supervise()."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise OSError("no settings on stdin")
        line += byte
    return json.loads(line)


def main():
    die_with_parent(os.getppid())
    settings = read_settings()
    check(LIBC.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    user_namespace = make_user_namespace(settings["uidBase"])
    mount_disk(settings["disk"], settings["mountPoint"], user_namespace, settings["uidBase"])

    master, slave = os.openpty()
    console_path = os.ttyname(slave)
    os.chown(console_path, settings["uidBase"], settings["uidBase"])
    init_read, to_init = os.pipe()
    from_init, init_write = os.pipe()

    init = clone_init(user_namespace)
    if init == 0:
        try:
            os.close(to_init)
            os.close(from_init)
            run_init(settings, console_path, init_read, init_write)
        except OSError as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(1)
    for descriptor in (slave, init_read, init_write):
        os.close(descriptor)
    for folder in settings["cgroups"]:
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(init))
    os.write(to_init, b"0")
    if os.read(from_init, 1) != b"1":
        os.waitpid(init, 0)
        unmount_disk(settings["mountPoint"])
        raise OSError("the droplet's root could not be set up")
    report(event="created", pid=init)
    how = supervise(init, master, Console(settings["console"], settings["consoleLimit"]), to_init)
    unmount_disk(settings["mountPoint"])
    report(event="ended", how=how)


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as problem:
        print(f"launch.py: {problem}", file=sys.stderr)
        sys.exit(1)
