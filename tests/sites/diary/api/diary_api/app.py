"""Shows what cron has written, as JSON.

Environment: ``DIARY_FILE`` is the path of the file, ``DIARY_VERSION`` is shown.
"""

import json
import os
import time
from pathlib import Path


#: How many processes gunicorn has; see ``gunicorn.conf.py``.
workers = None


def create_app():
    """Make the WSGI application."""
    file = Path(os.environ["DIARY_FILE"])
    started = int(time.time())

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        lines = file.read_text().splitlines() if file.exists() else []
        answer = {"version": os.environ["DIARY_VERSION"], "started": started, "workers": workers, "lines": lines}
        return [json.dumps(answer).encode()]

    return application
