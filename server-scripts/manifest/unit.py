"""A unit: one supervised process of a release, as an s6 service folder `services/<unit>/`, from which the running one is copied.

Beside s6's own files (run, finish, notification-fd, timeout-kill) the scripts read in `data/`:
  instance   what stands after the @ in the running service's name, <slug>.<unit>@<instance>: the release, or a digest of all that the
             process depends on, so that it goes on running when only the rest of the release changes
  log        name of its log: /var/log/<slug>-<log>/
  socket     "name host port", if the socket holder keeps its port
  ready-ms   for how many milliseconds a candidate may take until it is ready, if not 30000
  private/   files that only root and the unit's own user read: a configuration with a site's passwords
  secrets    path of its secrets, without which it is not started
  first      there, if it is started before the others and replaced by stopping the old one (Redis)
  exclusive  there, if the old and the new one cannot run at the same time (workers, chill)
"""

import os
import shlex


def write(path, content, mode=0o644):
    """Writes a file whole; folders above it are made."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(content)
    os.chmod(path, mode)


def write_unit(release, unit, run, *, finish, log, instance=None, marks=(), data=None, files=None, private=None):
    """Writes the folder of a unit. marks: "first", "exclusive". data, files, private: names and texts of files in data/, beside run, and in data/private/."""
    folder = f"{release}/services/{unit}"
    os.makedirs(f"{folder}/data")
    os.chmod(folder, 0o755)
    os.chmod(f"{folder}/data", 0o755)
    write(f"{folder}/run", run, 0o755)
    write(f"{folder}/finish", finish, 0o755)
    write(f"{folder}/data/instance", f"{instance or os.path.basename(release)}\n")
    write(f"{folder}/data/log", f"{log}\n")
    for mark in marks:
        write(f"{folder}/data/{mark}", "")
    for name, content in (data or {}).items():
        write(f"{folder}/data/{name}", content)
    for name, content in (files or {}).items():
        write(f"{folder}/{name}", content)
    if private:
        # Their group becomes that of the unit's user with the release's permissions.
        os.mkdir(f"{folder}/data/private")
        os.chmod(f"{folder}/data/private", 0o750)
        for name, content in private.items():
            write(f"{folder}/data/private/{name}", content, 0o640)


def write_environment(release, service, variables):
    """A folder for s6-envdir, which takes a variable without a value away: those are in `.empty`, as words for env, see begin_as_site.

    The folder becomes root:<slug> with the release's permissions.
    """
    folder = f"{release}/env/{service}"
    os.makedirs(folder, 0o750)
    os.chmod(os.path.dirname(folder), 0o711)
    os.chmod(folder, 0o750)
    for name, value in variables.items():
        if value != "":
            write(f"{folder}/{name}", value, 0o640)
    write(f"{folder}/.empty", "".join(f"{name}=\n" for name, value in variables.items() if value == ""), 0o640)


def base_environment(slug, service):
    """What every process of a site gets, before what the site file gives it."""
    return {"HOME": f"/var/lib/{slug}/{service}", "LANG": "C.UTF-8", "HOST": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


def socket_name(slug, port):
    """A site's sockets go by their port alone, so that a service may take another name, or another's port, without letting it go."""
    return f"{slug}.:{port}"


def begin_as_site(slug, service, log, release, niceness, socket=None, fork=""):
    """The beginning of a run script, up to the words that the site's user then runs.

    It runs in the service's folder of the release with the site's environment, PATH with the venv first, and $service set to the unit's folder;
    with a socket, which is (name, host, port), that is file descriptor 0. fork: lines that may take another way, with {socket} and {niceness}.
    """
    words = {
        "log": f"/run/chillbox/log/{slug}.{log}",
        "app": f"{release}/app/{service}",
        "environment": f"{release}/env/{service}",
        "path": f"{release}/venv/{service}/bin:/usr/local/bin:/usr/bin:/bin",
        "user": slug,
        "secrets": f"{slug}/{service}",
        "socket": socket[0] if socket else "",
    }
    quoted = {key: shlex.quote(value) for key, value in words.items()}
    hold = HOLD if socket else ""
    take = TAKE.format(**quoted) if socket else ""
    hold += fork.format(**quoted, niceness=niceness or 0)
    return BEGIN.format(**quoted, limit=LIMIT, hold=hold, take=take, niceness=niceness or 0)


# Whatever the run script of a site begins with: from here on all that it does counts as the service's.
LIMIT = """/usr/local/lib/chillbox/current/chillbox-limit "${PWD##*/}"
"""

HOLD = """read -r name host port <data/socket
s6-fdholder-list /run/chillbox/fdholder/socket | grep -Fqx "$name" ||
  /usr/local/lib/chillbox/current/chillbox-listen "$name" "$host" "$port"
"""

TAKE = "s6-fdholder-retrieve /run/chillbox/fdholder/socket {socket} "

BEGIN = """#!/bin/sh -e
# The log's fifo is opened for reading and writing, so that nobody waits for a logger that restarts.
exec </dev/null 1<>{log} 2>&1
service=$PWD
{limit}{hold}cd {app}
# From left to right: take the socket, if there is one; forget the environment, go behind the walls and stop being root, and only then
# take what the site chose: its variables and its PATH.
exec {take}env -i PATH=/usr/bin:/bin nice -n {niceness} \\
  /usr/local/lib/chillbox/current/chillbox-confine --secrets {secrets} {user} \\
  env PATH={path} $(cat {environment}/.empty) s6-envdir -fn {environment} \\
"""

FINISH = """#!/bin/sh
# Workers that outlive their master would go on taking visitors from the shared socket: $4 is the process group.
[ -z "${4-}" ] || kill -KILL -- "-$4" 2>/dev/null
# So would those that left the group of processes: they are still in the control group.
/usr/local/lib/chillbox/current/chillbox-limit --end "${PWD##*/}"
# A candidate that dies before it was ever wanted is a failure, not a crash loop; neither is what dies ten times a minute.
[ ! -e data/trial ] || exit 125
s6-permafailon 60 10 1-255,SIGABRT,SIGBUS,SIGFPE,SIGILL,SIGKILL,SIGSEGV,SIGSYS true
code=$?
# Nor is it started again when its site takes too much of the disk: see chillbox-disk.
unit=${PWD##*/}
[ ! -e "/run/chillbox/over-disk/${unit%%.*}" ] || code=125
if [ "$code" = 125 ] && [ -e data/socket ]; then
  # Without its socket nginx answers with the maintenance page at once, instead of letting visitors wait.
  read -r name rest <data/socket
  s6-fdholder-delete /run/chillbox/fdholder/socket "$name"
fi
exit "$code"
"""
