"""lang "python": gunicorn in the service's own virtual environment, on a socket that the holder keeps."""

import re
import shlex

from checks import Wrong, environment, match, number, optional, port
from unit import FINISH, base_environment, begin_as_site, socket_name, write_environment, write_unit

WORKER_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
HEALTH = re.compile(r"/[!-~]*")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def check(place, service):
    port(place, service)
    environment(place, service)
    optional(service, "workers", place, lambda key, value: number(key, value, 0, 12))
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


def render(manifest, service, release, scripts):
    slug, name = manifest["slug"], service["name"]
    port_text = str(service["port"])
    write_environment(release, name, {**base_environment(slug, name), **service.get("environment", {}), "PORT": port_text})
    socket = (socket_name(slug, service["port"]), "127.0.0.1", port_text)
    with open(f"{scripts}/python/gunicorn.conf.py", encoding="utf-8") as file:
        settings = file.read()
    write_unit(
        release,
        name,
        begin_as_site(slug, name, name, release, service.get("niceness"), socket) + end_of_run(slug, service, release),
        finish=FINISH,
        log=name,
        data={"gunicorn.conf.py": settings, "socket": " ".join(socket) + "\n"},
        # An app that never gets ready is not waited for without end; what it started is killed with it.
        files={"notification-fd": "4\n", "timeout-kill": "40000\n"},
    )


def end_of_run(slug, service, release):
    return END.format(
        health=shlex.quote((service.get("health") or {}).get("path", "")),
        python=shlex.quote(f"{release}/venv/{service['name']}/bin/python"),
        gunicorn=" ".join(shlex.quote(word) for word in gunicorn_arguments(slug, service)),
    )


# The socket is handed on as systemd would (fd 3).
END = """  env CHILLBOX_HEALTH={health} CHILLBOX_TRIAL="$service/data/trial" \\
  sh -c 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$@"' gunicorn \\
  {python} -m gunicorn --config "$service/data/gunicorn.conf.py" {gunicorn}
"""


def gunicorn_arguments(slug, service):
    flags = {
        "--worker-class": service.get("workerClass"),
        "--workers": service.get("workers") or None,
        "--max-requests": service.get("maxRequests"),
        "--max-requests-jitter": service.get("maxRequestsJitter"),
        "--log-level": service.get("logLevel"),
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    module = f"{slug}_{service['name']}".replace("-", "_")
    return [*words, f"{module}.app:create_app()"]
