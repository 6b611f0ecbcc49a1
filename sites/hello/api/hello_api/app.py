"""A WSGI application without a framework: one address that answers JSON.

chillbox starts it as ``gunicorn "hello_api.app:create_app()"`` and gives it the
variables that ``hello.site.json`` lists under ``environment``.
"""

import fcntl
import json
import os
import platform
from pathlib import Path


def create_app():
    """Make the WSGI application.

    Environment: ``HELLO_VERSION`` is shown as the release, ``HELLO_DATA`` is
    the folder that keeps the number of visits (default: the current folder).
    """
    version = os.environ.get("HELLO_VERSION", "development")
    visits = Path(os.environ.get("HELLO_DATA", ".")) / "visits"

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/api/":
            return _answer(start_response, "404 Not Found", {"error": "There is only /api/ here."})
        return _answer(
            start_response,
            "200 OK",
            {
                "message": "Hello from your own server.",
                "version": version,
                "visits": _count(visits),
                "python": platform.python_version(),
            },
        )

    return application


def _answer(start_response, status, body):
    data = json.dumps(body).encode() + b"\n"
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(data))),
        ("Cache-Control", "no-store"),
    ]
    start_response(status, headers)
    return [data]


def _count(file):
    """Add one to the number in ``file`` and return it; the lock lets several workers do so at once."""
    with open(file, "a+", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        number = int(stream.read() or 0) + 1
        stream.truncate(0)
        stream.write(str(number))
    return number
