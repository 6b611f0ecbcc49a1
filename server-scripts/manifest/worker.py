"""lang "python-worker": copies of a command in the worker's own virtual environment, each a unit <name>.<n> with n from 1.

Old and new copies cannot work at the same time: the old ones get SIGTERM and 40 s to end what they are doing before the new ones start.
"""

import re
import shlex

from checks import Wrong, environment, number, optional
from unit import FINISH, base_environment, begin_as_site, write_environment, write_unit

MOST_COPIES = 64
# What only a shell understands, where it is not quoted: pipes, lists, redirections, variables, patterns, an assignment at the beginning.
QUOTED = re.compile(r"'[^']*'|\"[^\"$`]*\"|\\.", re.DOTALL)
SHELL = re.compile(r"[|&;<>()$`\n*?\[~#]|^\s*[A-Za-z_][A-Za-z0-9_]*=")


def check(place, worker):
    environment(place, worker)
    number(f"{place}.count", worker.get("count"), 0, MOST_COPIES)
    optional(worker, "niceness", place, lambda key, value: number(key, value, -20, 19))
    command = worker.get("runCommand")
    # For a shell, other kinds of space are letters.
    if not isinstance(command, str) or "\0" in command or not command.strip(" \t\n"):
        raise Wrong(f"{place}.runCommand is not a command")
    try:
        split(command)
    except ValueError as error:
        raise Wrong(f"{place}.runCommand cannot be split into words: {str(error).lower()}") from error


def render(manifest, worker, release, scripts):
    slug, name = manifest["slug"], worker["name"]
    write_environment(release, name, {**base_environment(slug, name), **worker.get("environment", {})})
    begin = begin_as_site(slug, name, name, release, worker.get("niceness"))
    words = " ".join(shlex.quote(word) for word in command_words(worker["runCommand"]))
    for copy in range(1, worker["count"] + 1):
        write_unit(
            release,
            f"{name}.{copy}",
            f"{begin}  env CHILLBOX_WORKER={copy} {words}\n",
            finish=FINISH,
            log=name,
            marks=("exclusive",),
            files={"timeout-kill": "40000\n"},
        )


def command_words(command):
    """The words to run. A command without anything that only a shell understands runs without one, so that it gets its signals itself."""
    if SHELL.search(QUOTED.sub("x", command)):
        return ["sh", "-c", IN_SHELL, "worker", command]
    return split(command)


def split(command):
    """As a shell does, for which a carriage return is a letter like any other."""
    words = shlex.shlex(command, posix=True)
    words.whitespace = " \t"
    words.whitespace_split = True
    words.commenters = ""
    return list(words)


# A shell that gets SIGTERM ends without what it runs. So all processes of the copy get it, and it waits until they ended.
IN_SHELL = """trap 'trap "" TERM; kill -TERM 0' TERM
(trap 'exit 143' TERM; eval "$1") &
wait $! && exit
code=$?
wait
exit $code"""
