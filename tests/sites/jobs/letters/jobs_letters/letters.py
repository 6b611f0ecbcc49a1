"""What the RQ worker does.

Environment: ``RQ_REDIS_URL`` is read by the command ``rq``; ``LETTERS_GREETING`` is how a
letter begins, in which ``$NAME`` stands for who gets it.
"""

import os


def write(name):
    """A letter to somebody, who wrote it and how much it gives way to others."""
    greeting = os.environ["LETTERS_GREETING"].replace("$NAME", name)
    return {"text": greeting, "niceness": os.nice(0), "folder": os.getcwd()}
