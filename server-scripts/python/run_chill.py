"""Runs chill (https://pypi.org/project/chill/) for a site.

Usage: run_chill.py serve WORK SETTINGS   answers on the listening socket that it was started with (LISTEN_FDS); SETTINGS is gunicorn.conf.py
       run_chill.py freeze                writes the static pages into ./frozen

The current folder is the service's. chill writes beside what it reads: its database and its dump of the site's own tables. It serves from
the folder WORK, therefore, which has the folders of the release, links to its files, and what chill wrote there before.
"""

import glob
import os
import shutil
import sys

import chill.script
import gunicorn.app.base

DUMP = "chill-dump.sql"
SQLITE = b"SQLite format 3\0"


def main(arguments):
    chill.script.make_app = with_defaults(chill.script.make_app)
    if arguments == ["freeze"]:
        chill.script.freeze("./site.cfg")
    elif len(arguments) == 3 and arguments[0] == "serve":
        lay_out(os.getcwd(), arguments[1])
        os.chdir(arguments[1])
        # chill derives its gunicorn application from this class when it starts to serve.
        gunicorn.app.base.BaseApplication = with_settings(arguments[2])
        chill.script.serve("./site.cfg")
    else:
        sys.exit("say freeze, or serve WORK SETTINGS")


def with_defaults(make_app):
    """chill's own maker of applications, with what site.cfg need not say and what is the same for every site."""

    def make(*positional, **named):
        app = make_app(*positional, **named)
        app.config["FREEZER_DESTINATION"] = os.path.join(os.getcwd(), "frozen")
        # Older versions of chill had no journal mode to choose, and sites loaded every file of that name.
        app.config.setdefault("SQLITE_JOURNAL_MODE", "wal")
        data = sorted(glob.glob("chill-*.yaml"))
        if data:
            app.config.setdefault("CHILL_DATA", ",".join(data))
        return app

    return make


def with_settings(path):
    class Application(gunicorn.app.base.BaseApplication):
        def run(self):
            settings = {"workers": self.cfg.workers}
            with open(path, encoding="utf-8") as file:
                exec(compile(file.read(), path, "exec"), settings)  # noqa: S102  chillbox's own, as gunicorn would read it
            for name, value in settings.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)
            super().run()

    return Application


def lay_out(source, work):
    """The files of the folder `source` appear in the folder `work` as links, databases as copies; what chill wrote there stays."""
    for folder, folders, names in os.walk(work, topdown=False):
        for path in (os.path.join(folder, name) for name in folders + names):
            if os.path.islink(path):
                os.remove(path)
        if not os.listdir(folder):
            os.rmdir(folder)
    for folder, folders, names in os.walk(source):
        target = os.path.join(work, os.path.relpath(folder, source))
        os.makedirs(target, exist_ok=True)
        for name in names + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            lay(os.path.join(folder, name), os.path.join(target, name))


def lay(path, target):
    if os.path.lexists(target):
        return
    if os.path.isfile(path) and is_written(path):
        shutil.copyfile(path, target)
    else:
        os.symlink(path, target)


def is_written(path):
    """Whether chill writes to this file: a release may bring the first one."""
    if os.path.basename(path) == DUMP:
        return True
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE


if __name__ == "__main__":
    main(sys.argv[1:])
