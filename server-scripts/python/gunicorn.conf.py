"""gunicorn's configuration for a site's service, around the site's own gunicorn.conf.py.

The first worker tells s6 that the service is ready (a newline on file descriptor 4), after the application was made and, when the
site names a health path, answered it with 2xx or 3xx, asked inside this process. As long as the service is a candidate it then
waits: the socket is shared with the release in use, and no visitor may get an answer from a release that may still be refused.
"""

import io
import os
import time

from gunicorn.errors import HaltServer

_OWN = os.path.join(os.getcwd(), "gunicorn.conf.py")
if os.path.exists(_OWN):
    with open(_OWN, encoding="utf-8") as _file:
        exec(compile(_file.read(), _OWN, "exec"))  # noqa: S102  the site's own settings, read first

_READY = 4
_HEALTH = os.environ.pop("CHILLBOX_HEALTH", "")
_TRIAL = os.environ.pop("CHILLBOX_TRIAL", "")
_sites_post_worker_init = globals().get("post_worker_init")
_sites_child_exit = globals().get("child_exit")

# These are chillbox's own: the supervisor, the socket and the log.
daemon = False
pidfile = None
user = None
group = None
reload = False
umask = 0o027
errorlog = "-"
control_socket_disable = True
worker_tmp_dir = "/dev/shm"  # noqa: S108  a heartbeat file must not wait for the disk
keepalive = globals().get("keepalive", 2)


def post_worker_init(worker):
    """Called in each worker once the application is made, before it takes a connection."""
    if _sites_post_worker_init:
        _sites_post_worker_init(worker)
    if _HEALTH and callable(getattr(worker, "wsgi", None)):
        status = _ask(worker.wsgi, _HEALTH)
        if not status.startswith(("2", "3")):
            raise RuntimeError(f"{_HEALTH} answered {status}")
    _leave_if_orphan(worker)
    _say_ready()
    while _TRIAL and os.path.exists(_TRIAL) and worker.alive:
        _leave_if_orphan(worker)
        worker.notify()
        time.sleep(0.02)


def child_exit(server, worker):
    """Called in the master when a worker ended. A candidate's worker has no reason to, so it is not started again and again."""
    if _sites_child_exit:
        _sites_child_exit(server, worker)
    if _TRIAL and os.path.exists(_TRIAL):
        raise HaltServer("a worker ended before the release was put to use", 3)


def _leave_if_orphan(worker):
    """A worker without a master would take a visitor from the shared socket, and then end."""
    if worker.ppid != os.getppid():
        os._exit(1)


def _ask(application, path):
    answer = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path.partition("?")[0],
        "QUERY_STRING": path.partition("?")[2],
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
    return answer[-1]


def _say_ready():
    try:
        os.write(_READY, b"\n")
        os.close(_READY)
    except OSError:
        # Another worker was first, or this is a later one: s6 has stopped listening.
        pass
