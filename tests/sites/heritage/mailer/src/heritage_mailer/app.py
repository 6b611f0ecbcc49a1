"""Starts only with its secrets."""

import os


def create_app():
    with open(os.environ["SECRETS_CONFIG"], encoding="utf-8") as file:
        secrets = file.read()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(len(secrets)).encode()]

    return application
