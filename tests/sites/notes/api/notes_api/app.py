"""Notes that visitors leave, kept in a file of SQLite.

Environment: ``NOTES_FILE`` is the path of the file, ``NOTES_STYLE`` the address of the style sheet, ``NOTES_VERSION`` and
``NOTES_API_URL`` are shown under ``/api/process``.
"""

import os
import sqlite3

from flask import Flask, jsonify, render_template_string, request

#: What gunicorn runs with; see ``gunicorn.conf.py``.
gunicorn = {}

PAGE = """<!doctype html>
<title>Notes</title>
<link rel="stylesheet" href="{{ style }}">
<h1>Notes</h1>
<form method="post" action="/api/notes"><input name="text" required> <button>Keep</button></form>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
"""


def create_app():
    """Make the Flask application."""
    app = Flask(__name__)
    file = os.environ.get("NOTES_FILE", "notes.sqlite")
    with sqlite3.connect(file) as db:
        db.execute("create table if not exists note (id integer primary key, text text not null)")

    @app.get("/")
    def page():
        return render_template_string(PAGE, notes=_read(file), style=os.environ.get("NOTES_STYLE", ""))

    @app.get("/api/notes")
    def read():
        return jsonify(_read(file))

    @app.post("/api/notes")
    def write():
        with sqlite3.connect(file) as db:
            db.execute("insert into note (text) values (?)", [request.values["text"]])
        return jsonify(_read(file)), 201

    @app.get("/api/process")
    def process():
        return jsonify(
            version=os.environ.get("NOTES_VERSION"),
            api_url=os.environ.get("NOTES_API_URL"),
            scheme=request.headers.get("X-Forwarded-Proto"),
            folder=os.getcwd(),
            niceness=os.nice(0),
            pid=os.getpid(),
            **gunicorn,
        )

    return app


def _read(file):
    with sqlite3.connect(file) as db:
        return [text for (text,) in db.execute("select text from note order by id")]
