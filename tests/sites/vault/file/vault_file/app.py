"""Knows a file of any bytes, and tells its SHA-256."""

import json
import os
import time
from hashlib import sha256


def create_app():
    """Make the WSGI application: it does not start without ``SECRETS_CONFIG``."""
    with open(os.environ["SECRETS_CONFIG"], "rb") as file:
        digest = sha256(file.read()).hexdigest()
    body = json.dumps({"sha256": digest, "started": time.time()}).encode()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application
