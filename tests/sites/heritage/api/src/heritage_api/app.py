"""Answers with what the older contract promises a service: its environment and its folder."""

import json
import os

PROMISED = """HOST PORT S3_ENDPOINT_URL ARTIFACT_BUCKET_NAME IMMUTABLE_BUCKET_NAME IMMUTABLE_BUCKET_DOMAIN_NAME CHILLBOX_SERVER_NAME
CHILLBOX_SERVER_PORT SERVER_PORT CHILLBOX_SUBNET TECH_EMAIL SERVER_NAME FLASK_APP""".split()


def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        answer = {
            "environment": {name: os.environ.get(name) for name in PROMISED},
            "folder": os.getcwd(),
            "data": os.access("/var/lib/heritage/api", os.W_OK),
            "path": environ["PATH_INFO"],
            "beats": _beats(),
        }
        return [json.dumps(answer).encode()]

    return application


def _beats():
    try:
        with open("/var/lib/heritage/worker/beats", encoding="utf-8") as file:
            return file.read().split()
    except FileNotFoundError:
        return []
