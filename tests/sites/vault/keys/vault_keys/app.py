"""Knows keys, reads them as Flask's ``from_envvar`` does, and tells the SHA-256 of each."""

import json
import os
import time
from hashlib import sha256


def create_app():
    """Make the WSGI application: it does not start without ``SECRETS_CONFIG``."""
    with open(os.environ["SECRETS_CONFIG"], "rb") as file:
        keys = {}
        exec(compile(file.read(), file.name, "exec"), keys)
    digests = {name: sha256(value.encode()).hexdigest() for name, value in keys.items() if name.isupper()}
    body = json.dumps({"digests": digests, "started": time.time()}).encode()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application
