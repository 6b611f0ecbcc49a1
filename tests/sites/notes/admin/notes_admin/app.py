"""How many notes there are, for the person who looks after the site.

Environment: ``NOTES_FILE`` is the file in which the service ``api`` keeps them.
"""

import os
import sqlite3

from flask import Flask, jsonify


def create_app():
    """Make the Flask application."""
    app = Flask(__name__)

    asked = []

    @app.get("/admin/health")
    def health():
        """Says that it is there to who may not see more."""
        asked.append(True)
        return "", 401

    @app.get("/admin/")
    def count():
        with sqlite3.connect(f"file:{os.environ['NOTES_FILE']}?mode=ro", uri=True) as db:
            (notes,) = db.execute("select count(*) from note").fetchone()
        return jsonify(notes=notes, niceness=os.nice(0), was_asked=bool(asked))

    return app
