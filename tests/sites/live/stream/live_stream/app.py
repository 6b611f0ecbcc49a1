"""Events that come one after the other, as a browser's EventSource reads them.

Each visitor holds a connection for half a second and more. A worker of gunicorn's kind ``gevent`` serves all of them at once.
"""

import time


def create_app():
    """Make the WSGI application: ``/events/?count=N`` sends N events, half a second apart."""

    def application(environ, start_response):
        count = environ["QUERY_STRING"].removeprefix("count=")
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
        return _events(int(count or 1))

    return application


def _events(count):
    for number in range(1, count + 1):
        time.sleep(0.5)
        yield f"data: {number}\n\n".encode()
