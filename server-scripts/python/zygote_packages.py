#!/usr/bin/python3 -IS
"""Which packages the zygote shares, and whether a virtual environment has the very same.

Usage: zygote_packages.py CARRIED VENV PLAN
    adds "packages" to the JSON object in the file PLAN: a list of the shared packages that the environment has; exit 1 when one of them is
    another than the zygote's

A service that has another version than the zygote runs on its own: what is loaded cannot be told apart any more after the fork.
"""

import filecmp
import json
import os
import re
import sys

# Of what chillbox carries (chill-requirements.txt): what a small Flask site has.
SHARED = ("blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug")


def distributions(folder):
    """The folders of metadata of what is installed here, by the package's name."""
    found = {}
    for name in os.listdir(folder):
        match = re.fullmatch(r"(.+)-[^-]+\.dist-info", name)
        if match:
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = name
    return found


def files_of(folder, metadata):
    """The package's own files, without its metadata and what only an installation adds."""
    with open(f"{folder}/{metadata}/RECORD", encoding="utf-8") as file:
        names = [line.rsplit(",", 2)[0].strip('"') for line in file]
    return [name for name in names if not name.startswith((metadata, "..", "/")) and "__pycache__" not in name]


def shared_packages(folder):
    """@returns the top-level modules of each shared package"""
    found = distributions(folder)
    modules = {}
    for package in SHARED:
        tops = {name.split("/")[0].removesuffix(".py") for name in files_of(folder, found[package])}
        modules[package] = sorted(top for top in tops if top.isidentifier())
    return modules


def same_packages(folder, environment):
    """@returns the shared packages that the environment has, or None when one of them differs"""
    ours, theirs = distributions(folder), distributions(environment)
    # gunicorn is the one that the zygote has loaded, so another cannot be.
    if "gunicorn" in theirs:
        return None
    present = [package for package in SHARED if package in theirs]
    for package in present:
        names = files_of(folder, ours[package])
        _, different, missing = filecmp.cmpfiles(folder, environment, names, shallow=False)
        if different or missing or ours[package] != theirs[package]:
            return None
    return present


def main(carried, venv, plan):
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    present = same_packages(f"{carried}/chill", f"{venv}/lib/{version}/site-packages")
    if present is None:
        return 1
    with open(plan, "r+", encoding="utf-8") as file:
        content = json.load(file)
        file.seek(0)
        json.dump({**content, "packages": present}, file)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        sys.exit(0)
    sys.exit(main(*sys.argv[1:]))
