"""lang "chill": `chill serve` on a socket that the holder keeps, or nothing that runs where chill's pages were frozen.

chill reads its tables anew when it starts, so two of it cannot run side by side: the old one ends first, and requests wait in the queue.
"""

import shlex

from checks import Wrong, environment, number, optional, port
from unit import FINISH, base_environment, begin_as_site, socket_name, write_environment, write_unit


def check(place, service):
    environment(place, service)
    optional(service, "niceness", place, lambda key, value: number(key, value, -20, 19))
    if not isinstance(service.get("freeze"), bool):
        raise Wrong(f"{place}.freeze is not true or false")
    if not service["freeze"]:
        port(place, service)


def render(manifest, service, release, scripts):
    slug, name = manifest["slug"], service["name"]
    variables = {**base_environment(slug, name), **service.get("environment", {})}
    if service["freeze"]:
        write_environment(release, name, variables)
        return
    port_text = str(service["port"])
    write_environment(release, name, {"PORT": port_text, **variables})
    socket = (socket_name(slug, service["port"]), "127.0.0.1", port_text)
    files = {}
    for file_name in ("gunicorn.conf.py", "run_chill.py"):
        with open(f"{scripts}/python/{file_name}", encoding="utf-8") as file:
            files[file_name] = file.read()
    begin = begin_as_site(slug, name, name, release, service.get("niceness"), socket)
    end = END.format(
        python=shlex.quote(f"{release}/venv/{name}/bin/python"), work=shlex.quote(f"/var/lib/{slug}/{name}/chill")
    )
    write_unit(
        release,
        name,
        begin + end,
        finish=FINISH,
        log=name,
        marks=("exclusive",),
        data={**files, "socket": " ".join(socket) + "\n"},
        files={"notification-fd": "4\n", "timeout-kill": "40000\n"},
    )


# The socket is handed on as systemd would (fd 3).
END = """  env CHILLBOX_TRIAL="$service/data/trial" \\
  sh -c 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$@"' chill \\
  {python} "$service/data/run_chill.py" serve {work} "$service/data/gunicorn.conf.py"
"""
