"""gunicorn's configuration for a site's service, around the site's own gunicorn.conf.py.

The first worker tells s6 that the service is ready (a newline on file descriptor 4) after the application was made and, in ASGI, started.
A candidate is asked its health path before, inside this process: CHILLBOX_HEALTH, {"path", "status" ("200-399"), "timeoutSeconds"}. As
long as the service is a candidate (the file CHILLBOX_TRIAL is there) it then waits: the socket is shared with the release in use, and no
visitor may get an answer from a release that may still be refused.

A worker that ends takes no further connection, and goes on for a moment: who is connected already gets an answer.
"""

import asyncio
import io
import json
import os
import signal
import threading
import time

from gunicorn.errors import HaltServer

_OWN = os.path.join(os.getcwd(), "gunicorn.conf.py")
if os.path.exists(_OWN):
    with open(_OWN, encoding="utf-8") as _file:
        exec(compile(_file.read(), _OWN, "exec"))  # noqa: S102  the site's own settings, read first

_READY = 4
_BEGAN = time.monotonic()
# For how many seconds a worker that ends answers those who are connected already.
_DRAIN = 0.5
_HEALTH = {"path": "", "status": "200-399", "timeoutSeconds": 30, **json.loads(os.environ.pop("CHILLBOX_HEALTH", "{}"))}
_TRIAL = os.environ.pop("CHILLBOX_TRIAL", "")
_sites_post_fork = globals().get("post_fork")
_sites_post_worker_init = globals().get("post_worker_init")
_sites_child_exit = globals().get("child_exit")

# These are chillbox's own: the supervisor, the socket and the log.
daemon = False
pidfile = None
user = None
group = None
reload = False
umask = 0o077
errorlog = "-"
control_socket_disable = True
worker_tmp_dir = "/dev/shm"  # noqa: S108  a heartbeat file must not wait for the disk
keepalive = globals().get("keepalive", 2)


def _fitting(minimum, maximum):
    """How many workers fit this server: two for each core and one more, between the bounds (0: none) and never more than 12."""
    most = maximum or 12
    return min(max(2 * len(os.sched_getaffinity(0)) + 1, minimum), most, 12)


# On the command line when the site file has a number.
workers = globals().get("workers") or _fitting(*map(int, os.environ.pop("CHILLBOX_FIT", "0 1").split()))


def post_fork(server, worker):
    """Called in each worker before it makes the application. The master kills it when it says nothing for too long."""
    if _sites_post_fork:
        _sites_post_fork(server, worker)
    if _HEALTH["timeoutSeconds"] > worker.cfg.timeout:
        until = time.monotonic() + _HEALTH["timeoutSeconds"] - worker.cfg.timeout
        os.utime(worker.tmp.fileno(), (until, until))


def post_worker_init(worker):
    """Called in each worker once the application is made, before it takes a connection."""
    if _sites_post_worker_init:
        _sites_post_worker_init(worker)
    if _is_uvicorn(worker):
        _settle_later(worker)
        return
    if _HEALTH["path"] and _on_trial() and callable(getattr(worker, "wsgi", None)):
        _check(_ask_in_time(worker.wsgi))
    _leave_if_orphan(worker)
    _say_ready()
    while _on_trial() and worker.alive:
        _leave_if_orphan(worker)
        worker.notify()
        time.sleep(0.02)
    _leave_if_orphan(worker)
    if hasattr(worker, "poller"):
        _drain_threads(worker)


def child_exit(server, worker):
    """Called in the master when a worker ended. A candidate's worker has no reason to, so it is not started again and again."""
    if _sites_child_exit:
        _sites_child_exit(server, worker)
    if _on_trial():
        raise HaltServer("a worker ended before the release was put to use", 3)


def _leave_if_orphan(worker):
    """A worker without a master would take a visitor from the shared socket, and then end."""
    if worker.ppid != os.getppid():
        os._exit(1)


def _on_trial():
    return _TRIAL and os.path.exists(_TRIAL)


def _say_ready():
    try:
        os.write(_READY, b"\n")
        os.close(_READY)
    except OSError:
        # Another worker was first, or this is a later one: s6 has stopped listening.
        pass


def _check(status):
    lowest, highest = map(int, _HEALTH["status"].split("-"))
    if not lowest <= status <= highest:
        wanted = lowest if lowest == highest else _HEALTH["status"]
        raise RuntimeError(f"the health check failed: {_HEALTH['path']} answered {status} instead of {wanted}")


def _time_left():
    return max(0.1, _BEGAN + _HEALTH["timeoutSeconds"] - time.monotonic())


def _too_slow(*_):
    raise RuntimeError(f"the health check failed: {_HEALTH['path']} gave no answer within {_HEALTH['timeoutSeconds']} s")


def _ask_in_time(application):
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, _time_left())
    try:
        return _ask(application)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ask(application):
    """The status that a WSGI application answers the health path with."""
    answer = []
    path, _, query = _HEALTH["path"].partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": os.environ.get("PORT", "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    body = application(environ, lambda status, headers, exc_info=None: answer.append(status))
    try:
        for _ in body:
            pass
    finally:
        getattr(body, "close", lambda: None)()
    return int(answer[-1].split()[0])


async def _ask_asgi(application, state):
    """The status that an ASGI application answers the health path with."""
    path, _, query = _HEALTH["path"].partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", int(os.environ.get("PORT", "80"))),
        "state": dict(state),
    }
    answer = []
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in asked:
            return message
        # The visitor stays until the answer is there.
        return await asyncio.Future()

    async def send(message):
        if message["type"] == "http.response.start":
            answer.append(message["status"])

    await application(scope, receive, send)
    return answer[-1] if answer else 0


def _is_uvicorn(worker):
    return any(parent.__name__ == "UvicornWorker" for parent in type(worker).__mro__)


def _settle_later(worker):
    """uvicorn starts the application and then listens in one step, and closes a connection that has not asked yet when it ends."""
    from uvicorn.server import Server

    class Settled(Server):
        async def startup(self, sockets=None):
            start = self.lifespan.startup

            async def start_and_wait():
                await start()
                if not self.lifespan.should_exit:
                    await _wait_as_candidate(worker, self)

            self.lifespan.startup = start_and_wait
            await super().startup(sockets=sockets)

        async def shutdown(self, sockets=None):
            for server in self.servers:
                server.close()
            await asyncio.sleep(_DRAIN)
            await super().shutdown(sockets=sockets)

    for parent in type(worker).__mro__:
        if parent.__name__ == "UvicornWorker":
            parent._serve.__globals__["Server"] = Settled


async def _wait_as_candidate(worker, server):
    if _HEALTH["path"] and _on_trial():
        try:
            _check(await asyncio.wait_for(_ask_asgi(server.config.loaded_app, server.lifespan.state), _time_left()))
        except TimeoutError:
            _too_slow()
    _leave_if_orphan(worker)
    _say_ready()
    while _on_trial() and not server.should_exit:
        _leave_if_orphan(worker)
        worker.notify()
        await asyncio.sleep(0.02)
    _leave_if_orphan(worker)


def _drain_threads(worker):
    """gthread closes connections that it has accepted and not read from when it ends (gunicorn 23: some, 27: slow ones)."""

    def drain(number, frame):
        if hasattr(worker, "set_accept_enabled"):
            # It stops accepting by itself when it has more connections than it may have.
            worker.worker_connections = 0
        else:
            for listener in worker.sockets:
                worker.poller.unregister(listener)
        threading.Timer(_DRAIN, worker.handle_exit, (number, frame)).start()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    signal.signal(signal.SIGTERM, drain)
