"""Checks of what a manifest holds. Each raises Wrong, whose message begins with the key."""

import json
import re

SLUG = re.compile(r"[a-z][a-z0-9-]{0,30}")
SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Wrong(Exception):
    """A manifest that cannot be used; the message names the key."""


def text(holder, key, pattern, place=""):
    """The text under this key, which is wholly of the pattern."""
    match(place + key, holder.get(key), pattern)
    return holder[key]


def match(key, value, pattern):
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Wrong(f"{key} {json.dumps(value)[:120]} is not of the form {pattern.pattern}")


def number(key, value, lowest, highest):
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise Wrong(f"{key} {json.dumps(value)[:120]} is not a whole number from {lowest} to {highest}")


def optional(holder, key, place, check_value):
    """Checks the value under this key, unless there is none."""
    if holder.get(key) is not None:
        check_value(f"{place}.{key}", holder[key])


def array(holder, key):
    if not isinstance(holder.get(key), list):
        raise Wrong(f"{key} is not a list")
    return holder[key]


def environment(place, holder):
    """The variables that a site gives its processes: names and texts."""
    variables = holder.get("environment", {})
    if not isinstance(variables, dict):
        raise Wrong(f"{place}.environment is not an object")
    for name, value in variables.items():
        match(f"{place}.environment's name", name, VARIABLE)
        # The loader would take them for every program between the supervisor and the site's own.
        if name.startswith("LD_"):
            raise Wrong(f"{place}.environment.{name} is the loader's, which a site must not set")
        if not isinstance(value, str) or "\0" in value:
            raise Wrong(f"{place}.environment.{name} is not text")


def port(place, holder):
    """Where a service listens: loopback, and a port that needs no root."""
    if holder.get("host", "127.0.0.1") != "127.0.0.1":
        raise Wrong(f"{place}.host is not 127.0.0.1")
    number(f"{place}.port", holder.get("port"), 1024, 65535)
