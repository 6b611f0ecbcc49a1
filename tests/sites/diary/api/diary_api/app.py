"""Shows what cron has written, as JSON.

Environment: ``DIARY_FILE`` is the path of the file, ``DIARY_VERSION`` is shown.
"""

import json
import os
from pathlib import Path


def create_app():
    """Make the WSGI application."""
    file = Path(os.environ["DIARY_FILE"])

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.dumps({"version": os.environ["DIARY_VERSION"], "lines": lines}).encode()]

    return application
