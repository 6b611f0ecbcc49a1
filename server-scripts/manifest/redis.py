"""The site's own Redis: unit `_redis`, as the user _<slug>, on /run/redis/<slug>.sock alone. Its data is in /var/lib/<slug>/_redis.

The manifest's "redis" is {directive: value}, both text. lib/redis.ts on the laptop has the same two lists of directives.
"""

import hashlib
import os
import re
import shlex
import shutil

from checks import Wrong
from unit import FINISH, LIMIT, write_unit

DIRECTIVE = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")
# What chillbox says itself.
OWN = {
    "aclfile",
    "appenddirname",
    "appendfilename",
    "bind",
    "bind-source-addr",
    "daemonize",
    "dbfilename",
    "dir",
    "logfile",
    "pidfile",
    "port",
    "protected-mode",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "unixsocket",
    "unixsocketgroup",
    "unixsocketperm",
}
# What loads code or other files, changes which commands there are, or reaches out of the server.
REFUSED = re.compile(
    r"(cluster-|tls-).*"
    r"|include|loadmodule|rename-command|user|sentinel|slaveof|replicaof|enable-(debug|module)-command|enable-protected-configs"
)
# What a site may say otherwise. Without a limit one Redis would take the memory of all sites.
DEFAULTS = {"maxmemory": "64mb", "shutdown-on-sigterm": "save"}
ACL_BYTES = 1 << 20
SERVERS = (("redis-server", "redis-cli"), ("valkey-server", "valkey-cli"))


def check(place, directives):
    if not isinstance(directives, dict):
        raise Wrong(f"{place} is not an object")
    for name, value in directives.items():
        if not DIRECTIVE.fullmatch(name):
            raise Wrong(f"{place} has {name[:100]!r}, which is not of the form {DIRECTIVE.pattern}")
        if name in OWN:
            raise Wrong(f"{place}.{name} is chillbox's own")
        if REFUSED.fullmatch(name):
            raise Wrong(f"{place}.{name} is not for a site to say")
        if not isinstance(value, str) or len(value) > 10_000 or NOT_TEXT.search(value):
            raise Wrong(f"{place}.{name} is not text")


def render(manifest, directives, release, scripts):
    slug = manifest["slug"]
    server, client = programs()
    with open(f"{scripts}/redis/run-redis", encoding="utf-8") as file:
        program = file.read()
    private = {"redis.conf": configuration(slug, directives)}
    users = read_users(release)
    if users is not None:
        if "requirepass" in directives:
            raise Wrong(f"redis.requirepass has no effect beside {slug}/redis/users.acl of the release: give the user default its password there")
        private["users.acl"] = users
    run = run_script(slug, [server, client, directives.get("appendonly", "no").lower()])
    # All that the process depends on, so that it goes on running when only the rest of the release changes.
    parts = [run, FINISH, program, *private.values()]
    instance = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    write_unit(
        release,
        "_redis",
        run,
        finish=FINISH,
        log="_redis",
        instance=instance,
        marks=["first"],
        data={"run-redis": program, "programs": f"{server} {client}\n"},
        files={"notification-fd": "3\n"},
        private=private,
    )


def programs():
    """Server and client: whichever of the two the image has."""
    for server, client in SERVERS:
        found = [shutil.which(name) for name in (server, client)]
        if all(found):
            return found
    raise Wrong("redis cannot be had: this server has neither Redis nor Valkey")


def read_users(release):
    """The text of the release's ACL file, or None."""
    path = f"{release}/app/redis/users.acl"
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read(ACL_BYTES + 1)
    if len(text) > ACL_BYTES:
        raise Wrong(f"redis cannot have a users.acl of more than {ACL_BYTES} bytes")
    return text


def configuration(slug, directives):
    own = {
        "port": "0",
        "unixsocket": f"/run/redis/{slug}/sock",
        "unixsocketperm": "770",
        "daemonize": "no",
        "supervised": "no",
        "pidfile": "",
        "logfile": "",
        "dir": f"/var/lib/{slug}/_redis",
    }
    return "".join(f"{name} {quote(value)}\n" for name, value in {**DEFAULTS, **directives, **own}.items())


def quote(value):
    """As redis.conf wants it. A directive of several words may have them in one pair of quotes."""
    characters = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(characters.get(chr(byte), chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in value.encode()) + '"'


def run_script(slug, words):
    return RUN.format(
        log=shlex.quote(f"/run/chillbox/log/{slug}._redis"),
        slug=slug,
        limit=LIMIT,
        words=" ".join(shlex.quote(word) for word in [f"/run/redis/{slug}/sock", f"/var/lib/{slug}/_redis", *words]),
    )


RUN = """#!/bin/sh -e
# The log's fifo is opened for reading and writing, so that nobody waits for a logger that restarts.
exec </dev/null 1<>{log} 2>&1
{limit}# In this folder Redis makes its socket, which gets the folder's group: that of the site.
mkdir -p /run/redis
chown root:root /run/redis
chmod 755 /run/redis
[ -d /run/redis/{slug} ] || mkdir -m 700 /run/redis/{slug}
chown _{slug}:{slug} /run/redis/{slug}
chmod 2710 /run/redis/{slug}
[ -L /run/redis/{slug}.sock ] || ln -s {slug}/sock /run/redis/{slug}.sock
# In a network without any way out: what a site may ask of its Redis (REPLICAOF, MIGRATE, CONFIG SET port) reaches nobody.
exec env -i PATH=/usr/bin:/bin /usr/local/lib/chillbox/current/chillbox-confine --no-network _{slug} sh data/run-redis {words}
"""
