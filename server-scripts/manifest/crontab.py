"""The site's crontab: unit `_cron`, one process that starts the lines that are due, as the site's user. Times are UTC.

The manifest's "crontab" is a list of lines, its "crontabEnvironment" their variables. A line has five fields and a command, or @daily and
the like and a command; lib/crontab.ts on the laptop takes the same ones, and tests/unit/lib/crontab-lines.json has what both must say.
"""

import hashlib
import json
import re
import shlex

from checks import Wrong, environment
from unit import FINISH, LIMIT, base_environment, write_environment, write_unit

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()
# Name, lowest, highest, and words that stand for numbers from the lowest on. 7 is Sunday, too.
FIELDS = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, WEEKDAYS),
)
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PART = re.compile(r"(?:\*|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
BLANKS = re.compile(r"[ \t]+")
MAX_LINES = 200
MAX_LENGTH = 4096


def check(place, lines, holder):
    if not isinstance(lines, list) or len(lines) > MAX_LINES:
        raise Wrong(f"{place} is not a list of {MAX_LINES} lines at most")
    for index, line in enumerate(lines):
        parse(f"{place}[{index}]", line)
    environment(place, {"environment": holder.get("crontabEnvironment", {})})


def parse(place, line):
    """A line as ([numbers of each field], either, command), or None for a remark. either: a day that fits one of the two fields for days is enough."""
    if not isinstance(line, str) or len(line) > MAX_LENGTH or CONTROL.search(line):
        raise Wrong(f"{place} is not a line of {MAX_LENGTH} characters at most")
    line = line.strip(" \t")
    if not line or line.startswith("#"):
        return None
    words = BLANKS.split(line, 1)
    if words[0].startswith("@"):
        if words[0] not in NICKNAMES:
            raise Wrong(f"{place} begins with {words[0]!r}, which is none of {', '.join(NICKNAMES)}")
        line = " ".join([NICKNAMES[words[0]], *words[1:]])
    words = BLANKS.split(line, 5)
    if len(words) < 6:
        raise Wrong(f"{place} {json.dumps(line)[:120]} has not five fields and a command")
    numbers = [numbers_of(f"{place}: the {field[0]}", word, *field[1:]) for field, word in zip(FIELDS, words, strict=False)]
    numbers[4] = sorted({number % 7 for number in numbers[4]})
    either = not words[2].startswith("*") and not words[4].startswith("*")
    if not either and min(numbers[2]) > max(MONTH_DAYS[month - 1] for month in numbers[3]):
        raise Wrong(f"{place} never runs: no month of it has a day {min(numbers[2])}")
    return numbers, either, words[5]


def numbers_of(place, word, lowest, highest, names):
    found = set()
    for part in word.lower().split(","):
        match = PART.fullmatch(part)
        if not match:
            raise Wrong(f"{place} {word!r} is not like *, 5, 1-5, */10 or a list of such")
        first, last, step = match.groups()
        low = number_of(place, first, lowest, highest, names) if first else lowest
        # A single number with a step begins there and goes on to the end.
        high = number_of(place, last, lowest, highest, names) if last else low if first and not step else highest
        if high < low or step == "0" or step == "00":
            raise Wrong(f"{place} {word!r} has the empty part {part!r}")
        found.update(range(low, high + 1, int(step or 1)))
    return sorted(found)


def number_of(place, text, lowest, highest, names):
    if text in names:
        return names.index(text) + lowest
    if text.isdigit() and lowest <= int(text) <= highest:
        return int(text)
    raise Wrong(f"{place} {text!r} is not a number from {lowest} to {highest}{' or a name such as ' + names[0] if names else ''}")


def render(manifest, lines, release, scripts):
    slug = manifest["slug"]
    write_environment(release, "_cron", {**base_environment(slug, "_cron"), **manifest.get("crontabEnvironment", {})})
    with open(f"{scripts}/cron/run-crontab", encoding="utf-8") as file:
        program = file.read()
    schedule, commands = [], {}
    for index, line in enumerate(lines):
        parsed = parse(f"crontab[{index}]", line)
        if parsed is None:
            continue
        numbers, either, command = parsed
        # The lock goes by the line, so that a run that outlives its release still counts as one of the same line.
        lock = hashlib.sha256(line.encode()).hexdigest()[:16]
        sets = [",".join(["", *map(str, each), ""]) for each in numbers]
        schedule.append(" ".join([str(index), *sets, "either" if either else "both", lock]) + "\n")
        commands[f"command.{index}"] = f"{command}\n"
    write_unit(
        release,
        "_cron",
        run_script(manifest, release),
        finish=FINISH,
        log="_cron",
        marks=["exclusive"],
        data={"run-crontab": program},
        # What a run has to end in when the next release comes; then it is killed.
        files={"notification-fd": "3\n", "timeout-kill": "30000\n"},
        private={"schedule": "".join(schedule), **commands},
    )


def run_script(manifest, release):
    slug = manifest["slug"]
    venvs = [f"{release}/venv/{service['name']}/bin" for service in manifest["services"]]
    words = {
        "log": f"/run/chillbox/log/{slug}._cron",
        "home": f"/var/lib/{slug}/_cron",
        "environment": f"{release}/env/_cron",
        "path": ":".join([*venvs, "/usr/local/bin:/usr/bin:/bin"]),
        "locks": f"/run/chillbox/cron/{slug}",
    }
    return RUN.format(slug=slug, limit=LIMIT, **{key: shlex.quote(value) for key, value in words.items()})


RUN = """#!/bin/sh -e
# The log's fifo is opened for reading and writing, so that nobody waits for a logger that restarts.
exec </dev/null 1<>{log} 2>&1
{limit}service=$PWD
mkdir -p /run/chillbox/cron
chmod 711 /run/chillbox/cron
[ -d {locks} ] || mkdir -m 700 {locks}
chown {slug}:{slug} {locks}
cd {home}
# Only after root was given up comes what the site chose: its variables and its PATH. Its lines run the programs of its services, so they
# see the secrets of all of them.
exec env -i PATH=/usr/bin:/bin /usr/local/lib/chillbox/current/chillbox-confine --secrets {slug} {slug} \\
  env PATH={path} $(cat {environment}/.empty) s6-envdir -fn {environment} \\
  /bin/sh "$service/data/run-crontab" "$service" {locks}
"""
