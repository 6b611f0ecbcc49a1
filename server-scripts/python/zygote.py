"""The zygote: one process that has loaded Python, gunicorn and the packages that chillbox brings, and forks a service for whoever asks.

Sites that bring the same versions of these packages then share their memory: a forked service takes a third of what its own interpreter
would. s6 supervises a waiter for each (chillbox-zygote-wait), because the service itself is this process's child.

A waiter connects to the socket, says the path of its unit's folder, and later "term"; it is told "exit N" or "signal N". The service gets
the waiter's own file descriptors: 5 (the listening socket), 2 (the log) and 4 (s6's notification). When the waiter goes, its service is
killed; when this process goes, all of them are.

It is root, so it loads nothing that a site brought, and has a clean environment with nothing secret in it. A child gives up all of that
before it reads the first line of a site's code.
"""

import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.dont_write_bytecode = True

import zygote_child  # noqa: E402  it stands beside this script
from zygote_packages import shared_packages  # noqa: E402

# Loaded before any service is forked: what most services load anyway.
PRELOADED = """
gunicorn.app.wsgiapp gunicorn.glogging gunicorn.sock gunicorn.workers.sync
concurrent.futures.thread decimal email.message hashlib hmac html http.client http.cookies json logging.config mimetypes secrets site sqlite3
ssl tempfile traceback urllib.request uuid zoneinfo
""".split()
# The same number on every architecture (Linux 5.6).
PIDFD_GETFD = 438
LIBC = ctypes.CDLL(None, use_errno=True)


class Service:
    """A service and the connection of its waiter. pid is 0 until it is forked."""

    def __init__(self, connection):
        self.connection = connection
        self.said = b""
        self.pid = 0
        self.pidfd = -1


class Zygote:
    def __init__(self, packages):
        self.packages = packages
        self.selector = selectors.DefaultSelector()
        self.services = set()
        self.ending = False

    def run(self, listener, notification):
        """Serves until SIGTERM; then every service is asked to end, and this process follows the last one."""
        self.selector.register(listener, selectors.EVENT_READ, None)
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.selector.register(wake, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, lambda *_: self.end(listener))
        os.write(notification, b"\n")
        os.close(notification)
        while not self.ending or self.services:
            for key, _ in self.selector.select():
                if key.fileobj is listener:
                    self.accept(listener)
                elif key.fileobj == wake:
                    os.read(wake, 64)
                elif isinstance(key.fileobj, socket.socket):
                    self.hear(key.data)
                else:
                    self.bury(key.data)

    def end(self, listener):
        if self.ending:
            return
        self.ending = True
        self.selector.unregister(listener)
        listener.close()
        for service in list(self.services):
            self.kill(service, signal.SIGTERM)
            if not service.pid:
                self.forget(service)

    def accept(self, listener):
        connection, _ = listener.accept()
        service = Service(connection)
        self.services.add(service)
        self.selector.register(connection, selectors.EVENT_READ, service)

    def hear(self, service):
        """What a waiter says; its end is that of its service."""
        try:
            part = service.connection.recv(4096)
        except ConnectionError:
            part = b""
        if not part:
            self.selector.unregister(service.connection)
            self.kill(service, signal.SIGKILL)
            if not service.pid:
                self.forget(service)
            return
        *lines, service.said = (service.said + part).split(b"\n")
        for line in lines:
            if line == b"term":
                self.kill(service, signal.SIGTERM)
            elif not service.pid:
                self.start(service, line.decode())

    def start(self, service, unit):
        try:
            descriptors, niceness = belongings(service.connection)
            with open(f"{unit}/data/zygote.json", encoding="utf-8") as file:
                plan = json.load(file)
        except (OSError, ValueError) as error:
            log(f"{unit} cannot be started: {error}")
            self.forget(service)
            return
        plan |= {"unit": unit, "niceness": niceness, "preloaded": self.packages}
        parent = os.getpid()
        service.pid = os.fork()
        if service.pid == 0:
            signal.set_wakeup_fd(-1)
            zygote_child.live(plan, descriptors, parent)
        for descriptor in descriptors:
            os.close(descriptor)
        service.pidfd = os.pidfd_open(service.pid)
        self.selector.register(service.pidfd, selectors.EVENT_READ, service)

    def kill(self, service, number):
        if service.pid:
            signal.pidfd_send_signal(service.pidfd, number)

    def bury(self, service):
        """A service has ended: its waiter is told how."""
        _, status = os.waitpid(service.pid, 0)
        word, number = ("signal", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ("exit", os.WEXITSTATUS(status))
        try:
            service.connection.send(f"{word} {number}\n".encode())
        except OSError:
            pass  # The waiter is gone, so nobody asks.
        self.selector.unregister(service.pidfd)
        os.close(service.pidfd)
        self.forget(service)

    def forget(self, service):
        self.services.discard(service)
        try:
            self.selector.unregister(service.connection)
        except (KeyError, ValueError):
            pass  # hear() was first.
        service.connection.close()


def belongings(connection):
    """What the waiter has for its service: copies of its socket, its log and s6's notification, and its niceness."""
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    pidfd = os.pidfd_open(pid)
    descriptors = []
    try:
        for number in (5, 2, 4):
            descriptor = LIBC.syscall(PIDFD_GETFD, pidfd, number, 0)
            if descriptor < 0:
                raise OSError(ctypes.get_errno(), f"file descriptor {number} of its waiter: {os.strerror(ctypes.get_errno())}")
            descriptors.append(descriptor)
        return descriptors, os.getpriority(os.PRIO_PROCESS, pid)
    except OSError:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    finally:
        os.close(pidfd)


def preload(folder):
    """Loads everything once. @returns the modules of each shared package, by the package's name."""
    for name in PRELOADED:
        importlib.import_module(name)
    sys.path.append(folder)
    packages = shared_packages(folder)
    for tops in packages.values():
        for top in tops:
            importlib.import_module(top)
    sys.path.remove(folder)
    return packages


def log(message):
    print(f"zygote: {message}", file=sys.stderr, flush=True)


def main(carried, path, notification):
    sys.path[0] = f"{carried}/runtime"
    packages = preload(f"{carried}/chill")
    # A service finds these behind its own packages, as it would without the zygote.
    del sys.path[0]
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o077)
    listener.bind(path)
    listener.listen(128)
    log(f"ready, with {', '.join(packages) or 'no packages'}")
    Zygote(packages).run(listener, notification)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
