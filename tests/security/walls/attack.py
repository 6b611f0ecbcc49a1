"""Tries everything that one site could do to another, on one or many of them, as whoever runs it.

Usage: attack.py [NAME...] <TARGETS.json      these attacks, or all
  targets: [{"slug", "canary", "release", "redis": its unit's folder, "name", "key", "host": the server's address, "port", "anyPort", "udpPort",
    "freePort", "pids": all of the site's, and what victim.py says: "pid", "memory", "held"}]
  "own": true has a victim of the attacker's own take the place of what victim.py says
prints {"attacks": [name], "found": {slug: {attack: evidence}}}: of the attacks that succeeded. Evidence is the site's canary, or what was done.

Each attack is a function of a target. It succeeds when it gives something, and it does nothing that lasts.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
ATTACKS = {}


def attack(function):
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


def canary_in(data, target):
    """The canary if the data has it."""
    return target["canary"] if target["canary"].encode() in data else ""


def read(path, target):
    with open(path, "rb") as file:
        return canary_in(file.read(), target)


def listed(path):
    return f"{path}: {' '.join(os.listdir(path))}"


# Files


@attack
def code(target):
    return read(f"/usr/local/src/{target['slug']}/api/canary.txt", target)


@attack
def code_in_the_release(target):
    return read(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/app/api/canary.txt", target)


@attack
def environment_in_the_release(target):
    return read(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/env/api/CANARY", target)


@attack
def virtual_environment(target):
    return listed(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/venv/api/lib")


@attack
def data(target):
    return read(f"/var/lib/{target['slug']}/api/data.txt", target)


@attack
def data_written(target):
    path = f"/var/lib/{target['slug']}/api/left-by-{os.getpid()}"
    with open(path, "w", encoding="utf-8"):
        os.unlink(path)
        return path


@attack
def data_listed(target):
    return listed(f"/var/lib/{target['slug']}/api")


@attack
def secrets(target):
    return read(f"/run/tmp/chillbox_secrets/{target['slug']}/api/secret", target)


@attack
def log_of_the_service(target):
    return read(f"/var/log/{target['slug']}-api/current", target)


@attack
def log_of_nginx(target):
    return read(f"/var/log/nginx/{target['slug']}/access.log", target)


@attack
def crontab(target):
    return read(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/services/_cron/data/private/command.0", target)


@attack
def crontab_that_runs(target):
    return read(f"/run/chillbox/services/{target['slug']}._cron@{target['release']}/data/private/command.0", target)


@attack
def crontab_of_the_system(target):
    for folder in ("/etc/crontabs", "/var/spool/cron/crontabs"):
        if os.path.isdir(folder):
            with open(f"{folder}/{target['slug']}", "a", encoding="utf-8") as file:
                return file.name
    return ""


@attack
def command_of_a_worker(target):
    return read(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/services/work.1/run", target)


@attack
def command_of_a_worker_that_runs(target):
    return read(f"/run/chillbox/services/{target['slug']}.work.1@{target['release']}/run", target)


@attack
def locks_of_cron(target):
    return listed(f"/run/chillbox/cron/{target['slug']}")


@attack
def settings_of_redis(target):
    return read(f"{target['redis']}/data/private/redis.conf", target)


@attack
def data_of_redis(target):
    return read(f"/var/lib/{target['slug']}/_redis/dump.rdb", target)


@attack
def private_manifest(target):
    return read(f"/var/lib/chillbox/sites/{target['slug']}/releases/{target['release']}/manifest.json", target)


# Sockets


def hear(address, target, family=socket.AF_UNIX):
    with socket.socket(family) as connection:
        connection.settimeout(2)
        connection.connect(address)
        connection.sendall(b"GET /canary HTTP/1.0\r\n\r\n")
        said = b""
        while part := connection.recv(4096):
            said += part
        return canary_in(said, target)


@attack
def unix_socket(target):
    return hear(f"/var/lib/{target['slug']}/work/socket", target)


@attack
def unix_socket_in_tmp(target):
    return hear(f"/tmp/socket-{target['name']}", target)


@attack
def abstract_socket(target):
    return hear(f"\0{target['name']}", target)


@attack
def redis(target):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(f"/run/redis/{target['slug']}.sock")
        connection.sendall(b"GET canary\r\n")
        return canary_in(connection.recv(4096), target)


@attack
def socket_of_the_holder(target):
    said = subprocess.run(["s6-fdholder-list", "/run/chillbox/fdholder/socket"], capture_output=True, check=False)
    return said.stdout.decode().strip()


# Ports. anyPort listens on every address of the host, which no port of a site does, so that all spellings lead somewhere.


@attack
def port_on_127_0_0_1(target):
    return hear(("127.0.0.1", target["port"]), target, socket.AF_INET)


@attack
def any_port_on_127_0_0_1(target):
    return hear(("127.0.0.1", target["anyPort"]), target, socket.AF_INET)


@attack
def port_on_localhost_mapped(target):
    return hear(("::ffff:127.0.0.1", target["port"]), target, socket.AF_INET6)


@attack
def port_on_127_9_9_9(target):
    return hear(("127.9.9.9", target["anyPort"]), target, socket.AF_INET)


@attack
def port_on_the_hosts_address(target):
    return hear((target["host"], target["anyPort"]), target, socket.AF_INET)


@attack
def port_on_0_0_0_0(target):
    return hear(("0.0.0.0", target["anyPort"]), target, socket.AF_INET)  # noqa: S104


@attack
def port_on_ipv6(target):
    return hear(("::1", target["anyPort"]), target, socket.AF_INET6)


@attack
def port_bound_to_loopback(target):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        connection.settimeout(2)
        connection.connect(("127.0.0.1", target["anyPort"]))
        connection.sendall(b"GET /canary HTTP/1.0\r\n\r\n")
        return canary_in(connection.recv(4096), target)


@attack
def udp_port(target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.2)
        connection.sendto(b"canary", ("127.0.0.1", target["udpPort"]))
        return canary_in(connection.recv(4096), target)


def take(address):
    with socket.socket() as listener:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
        listener.listen()
        return str(listener.getsockname())


@attack
def port_taken(target):
    return take(("127.0.0.1", target["port"]))


@attack
def port_taken_on_all_addresses(target):
    return take(("0.0.0.0", target["port"]))  # noqa: S104


@attack
def port_taken_of_a_service_that_is_down(target):
    return take(("127.0.0.1", target["freePort"]))


# Processes


def read_of(pid, name, target):
    return read(f"/proc/{pid}/{name}", target)


@attack
def environment(target):
    return read_of(target["pid"], "environ", target)


@attack
def environment_of_any(target):
    """Of all that the site runs."""
    for pid in target["pids"]:
        try:
            if found := read_of(pid, "environ", target):
                return found
        except OSError:
            continue
    return ""


@attack
def memory(target):
    with open(f"/proc/{target['pid']}/mem", "rb", buffering=0) as file:
        file.seek(target["memory"])
        return canary_in(file.read(64), target)


@attack
def memory_by_system_call(target):
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    room = ctypes.create_string_buffer(32)
    here, there = Part(ctypes.addressof(room), 32), Part(target["memory"], 32)
    LIBC.process_vm_readv(target["pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return canary_in(room.raw, target)


@attack
def maps(target):
    with open(f"/proc/{target['pid']}/maps", encoding="utf-8") as file:
        return file.readline()


@attack
def open_file(target):
    return read_of(target["pid"], f"fd/{target['held']}", target)


@attack
def open_file_by_system_call(target):
    pidfd = os.pidfd_open(target["pid"])
    descriptor = LIBC.syscall(438, pidfd, target["held"], 0)
    return canary_in(os.pread(descriptor, 64, 0), target) if descriptor >= 0 else ""


@attack
def current_folder(target):
    return os.readlink(f"/proc/{target['pid']}/cwd")


@attack
def root_folder(target):
    return read_of(target["pid"], f"root/tmp/of-{target['name']}", target)


@attack
def namespace(target):
    return os.readlink(f"/proc/{target['pid']}/ns/mnt")


@attack
def command_line(target):
    return read_of(target["pid"], "cmdline", target) or (target["pid"] and open(f"/proc/{target['pid']}/cmdline", "rb").read().decode())  # noqa: SIM115


@attack
def process_seen(target):
    return ",".join(str(pid) for pid in target["pids"] if str(pid) in os.listdir("/proc"))


@attack
def signal(target):
    done = []
    for pid in target["pids"]:
        try:
            os.kill(pid, 0)
            done.append(str(pid))
        except PermissionError:
            continue
    return ",".join(done)


@attack
def ptrace(target):
    if LIBC.ptrace(PTRACE_ATTACH, target["pid"], None, None) != 0:
        return ""
    os.waitpid(target["pid"], 0x40000000)
    LIBC.ptrace(PTRACE_DETACH, target["pid"], None, None)
    return "traced"


@attack
def limits(target):
    import resource

    return str(resource.prlimit(target["pid"], resource.RLIMIT_NOFILE))


@attack
def niceness(target):
    os.setpriority(os.PRIO_PROCESS, target["pid"], os.getpriority(os.PRIO_PROCESS, target["pid"]))
    return "set"


# What the kernel tells of all


def local_port(line):
    """Of a line of /proc/net/tcp."""
    words = line.split()
    return int(words[1].split(":")[1], 16) if ":" in words[1] else 0


@attack
def list_of_ports(target):
    with open("/proc/net/tcp", encoding="ascii") as file:
        return "".join(line for line in file if local_port(line) == target["port"])


@attack
def list_of_unix_sockets(target):
    with open("/proc/self/net/unix", encoding="utf-8") as file:
        return "".join(line for line in file if f"/var/lib/{target['slug']}/work/socket" in line)


def listeners(kind):
    """Local ports of all TCP sockets that listen, as `ss` gets them: by netlink (kind 4), with a dump of inet_diag."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kind) as kernel:
        kernel.settimeout(2)
        question = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 1 << 10) + bytes(48)
        kernel.send(struct.pack("=IHHII", 16 + len(question), 20, 0x301, 1, 0) + question)
        said = kernel.recv(1 << 20)
    while len(said) >= 72:
        length, what = struct.unpack_from("=IH", said)
        if what != 20:
            return
        yield struct.unpack_from("!H", said, 20)[0]
        said = said[length + 3 & ~3 :]


@attack
def list_of_ports_by_netlink(target):
    return ",".join(str(port) for port in listeners(4) if port == target["port"])


@attack
def control_groups(target):
    return " ".join(name for _, folders, _ in os.walk("/sys/fs/cgroup") for name in folders if name.startswith(f"{target['slug']}."))


@attack
def log_of_the_host(_):
    """A line in it, forged: whose things are said there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect("/dev/log")
        return "open"


# Shared memory and folders


@attack
def file_in_tmp(target):
    return read(f"/tmp/of-{target['name']}", target)


@attack
def file_in_var_tmp(target):
    return read(f"/var/tmp/of-{target['name']}", target)


@attack
def file_in_dev_shm(target):
    return read(f"/dev/shm/of-{target['name']}", target)


@attack
def shared_memory(target):
    shared = LIBC.shmget(target["key"], 0, 0)
    place = LIBC.shmat(shared, None, 0o10000) if shared >= 0 else None
    return canary_in(ctypes.string_at(place, 64), target) if place not in (None, ctypes.c_void_p(-1).value) else ""


def succeed(function, target):
    try:
        return function(target)
    except (OSError, ValueError):
        return ""


def own_victim(target, folder):
    """Starts a victim as a part of the attacker: what it says it is, and its process."""
    places = f"{folder}/places.json"
    name = f"{target['name']}-own"
    environment = {"CANARY": target["canary"], "NAME": name, "KEY": str(target["key"])}
    program = os.path.join(os.path.dirname(os.path.realpath(__file__)), "victim.py")
    victim = subprocess.Popen([sys.executable, program, places], env=environment)
    until = time.monotonic() + 20
    while not os.path.exists(places):
        if victim.poll() is not None or time.monotonic() > until:
            raise OSError("the victim does not start")
        time.sleep(0.01)
    with open(places, encoding="utf-8") as file:
        return {**target, **json.load(file), "name": name, "pids": [victim.pid]}, victim


def main():
    found = {}
    attacks = {name: ATTACKS[name] for name in sys.argv[1:]} or ATTACKS
    for target in json.load(sys.stdin):
        victim = None
        with tempfile.TemporaryDirectory() as folder:
            if target.get("own"):
                target, victim = own_victim(target, folder)
            results = {name: succeed(function, target) for name, function in attacks.items()}
        if victim:
            victim.kill()
            victim.wait()
        found[target["slug"]] = {name: result for name, result in results.items() if result}
    print(json.dumps({"attacks": list(attacks), "found": found}))


if __name__ == "__main__":
    main()
