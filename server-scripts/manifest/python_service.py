"""lang "python": gunicorn in the service's own virtual environment, on a socket that the holder keeps."""

import json
import re
import shlex

from checks import Wrong, environment, match, number, optional, port
from unit import FINISH, base_environment, begin_as_site, socket_name, write_environment, write_unit

WORKER_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
HEALTH = re.compile(r"/[!-~]*")
STATUS = re.compile(r"[1-5][0-9]{2}-[1-5][0-9]{2}")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def check(place, service):
    port(place, service)
    environment(place, service)
    for name in ("workers", "workersMinimum", "workersMaximum"):
        optional(service, name, place, lambda key, value: number(key, value, 0, 12))
    optional(service, "niceness", place, lambda key, value: number(key, value, -20, 19))
    optional(service, "maxRequests", place, lambda key, value: number(key, value, 0, 10**9))
    optional(service, "maxRequestsJitter", place, lambda key, value: number(key, value, 0, 10**9))
    optional(service, "workerClass", place, lambda key, value: match(key, value, WORKER_CLASS))
    if service.get("logLevel") not in (None, *LOG_LEVELS):
        raise Wrong(f"{place}.logLevel is none of {', '.join(LOG_LEVELS)}")
    optional(service, "health", place, check_health)


def check_health(place, health):
    if not isinstance(health, dict):
        raise Wrong(f"{place} is not an object")
    match(f"{place}.path", health.get("path"), HEALTH)
    match(f"{place}.status", health.get("status", "200-399"), STATUS)
    number(f"{place}.timeoutSeconds", health.get("timeoutSeconds", 30), 1, 600)


def render(manifest, service, release, scripts):
    slug, name = manifest["slug"], service["name"]
    port_text = str(service["port"])
    write_environment(release, name, {**base_environment(slug, name), **service.get("environment", {}), "PORT": port_text})
    socket = (socket_name(slug, service["port"]), "127.0.0.1", port_text)
    with open(f"{scripts}/python/gunicorn.conf.py", encoding="utf-8") as file:
        settings = file.read()
    own = {
        "CHILLBOX_HEALTH": json.dumps(service.get("health") or {}),
        "CHILLBOX_FIT": " ".join(str(service.get(key) or 0) for key in ("workersMinimum", "workersMaximum")),
        "CHILLBOX_TRIAL": "$service/data/trial",
    }
    arguments = ["--config", "$service/data/gunicorn.conf.py", *gunicorn_arguments(slug, service)]
    begin = begin_as_site(slug, name, name, release, service.get("niceness"), socket, FORK if can_share(service) else "")
    data = {"gunicorn.conf.py": settings, "socket": " ".join(socket) + "\n"}
    if can_share(service):
        data["zygote.json"] = json.dumps(zygote_plan(slug, name, release, own, arguments))
    if service.get("health"):
        # A second more than what the settings give it: they say what was wrong.
        data["ready-ms"] = f"{(service['health'].get('timeoutSeconds', 30) + 1) * 1000}\n"
    write_unit(
        release,
        name,
        begin + end_of_run(name, release, own, arguments),
        finish=FINISH,
        log=name,
        data=data,
        # An app that never gets ready is not waited for without end; what it started is killed with it.
        files={"notification-fd": "4\n", "timeout-kill": "40000\n"},
    )


def can_share(service):
    """Whether it may be forked from the zygote, which runs one sync worker without a master. The install looks at its packages, too."""
    return service.get("workers") in (None, 1) and service.get("workerClass") in (None, "sync")


# Before anything else of the run script, once its socket is held: by the zygote with the packages that the release was matched with.
FORK = """if [ -e data/zygote-python ] && read -r zygote <data/zygote-python && s6-svwait -U -t 10000 "/run/chillbox/scan/zygote@$zygote"; then
  exec s6-fdholder-retrieve /run/chillbox/fdholder/socket {socket} env -i PATH=/usr/bin:/bin nice -n {niceness} \\
    s6-ipcclient -l0 "/run/chillbox/zygote/$zygote/socket" /usr/local/lib/chillbox/current/chillbox-zygote-wait "$service"
fi
"""


def zygote_plan(slug, name, release, own, arguments):
    """What zygote_child.py reads."""
    return {
        "user": slug,
        "service": name,
        "app": f"{release}/app/{name}",
        "venv": f"{release}/venv/{name}",
        "environment": f"{release}/env/{name}",
        "own": own,
        "arguments": arguments,
    }


def end_of_run(name, release, own, arguments):
    return END.format(
        own=" ".join(f"{key}={quote(value)}" for key, value in own.items()),
        python=shlex.quote(f"{release}/venv/{name}/bin/python"),
        gunicorn=" ".join(quote(word) for word in arguments),
    )


def quote(word):
    """One word for the shell, in which $service is the unit's folder."""
    before, service, after = word.partition("$service")
    return shlex.quote(before) * bool(before) + '"$service"' * bool(service) + shlex.quote(after) * bool(after) or "''"


# The socket is handed on as systemd would (fd 3).
END = """  env {own} \\
  sh -c 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$@"' gunicorn \\
  {python} -m gunicorn {gunicorn}
"""


def gunicorn_arguments(slug, service):
    flags = {
        "--worker-class": service.get("workerClass"),
        # 0: as many as fit the server, see gunicorn.conf.py.
        "--workers": service.get("workers", 1) or None,
        "--max-requests": service.get("maxRequests"),
        "--max-requests-jitter": service.get("maxRequestsJitter"),
        "--log-level": service.get("logLevel"),
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    module = f"{slug}_{service['name']}".replace("-", "_")
    return [*words, f"{module}.app:create_app()"]
