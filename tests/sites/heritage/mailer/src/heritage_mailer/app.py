"""Starts only with its secrets."""

import os
from hashlib import sha256


def create_app():
    with open(os.environ["SECRETS_CONFIG"], "rb") as file:
        digest = sha256(file.read()).hexdigest()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [digest.encode()]

    return application
