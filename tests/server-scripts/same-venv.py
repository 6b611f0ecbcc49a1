"""Says how two virtual environments differ in more than their names: in files, owners, modes, contents, or in what was compiled.

Usage: same-venv.py EXPECTED FOUND
    prints a line for each difference; nothing when there is none
"""

import base64
import hashlib
import marshal
import os
import struct
import sys


def main(expected, found):
    folders = [contents(expected), contents(found)]
    for path in sorted({*folders[0], *folders[1]}):
        first, second = (folder.get(path) for folder in folders)
        if first != second:
            print(f"{path}: {str(first)[:400]} / {str(second)[:400]}")
    check_records(found)


def contents(folder):
    found = {}
    for here, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(here, name)
            status = os.lstat(path)
            inside = os.path.relpath(path, folder)
            found[inside] = (status.st_mode, status.st_uid, status.st_gid, content(folder, path))
    return found


def content(folder, path):
    if os.path.islink(path):
        return os.readlink(path)
    if os.path.isdir(path):
        return None
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".pyc"):
        check_time(path, data)
        return marshal.loads(data[16:])
    text = data.replace(os.path.basename(folder).encode(), b"VENV")
    # The digests of what has the environment's name in it differ; check_records() looks at them.
    return [line.split(b",")[0] for line in text.splitlines()] if path.endswith("RECORD") else text


def check_time(path, data):
    source = os.path.join(os.path.dirname(os.path.dirname(path)), os.path.basename(path).split(".")[0] + ".py")
    status = os.stat(source)
    if struct.unpack("<III", data[4:16]) != (0, int(status.st_mtime), status.st_size):
        print(f"{path} is not of the time and size of its source")


def check_records(folder):
    for here, _, names in os.walk(folder):
        if here.endswith(".dist-info") and "RECORD" in names:
            with open(os.path.join(here, "RECORD"), encoding="utf-8") as file:
                for line in file:
                    check_row(os.path.dirname(here), *line.strip().rsplit(",", 2))


def check_row(packages, path, digest, size):
    with open(os.path.join(packages, path), "rb") as file:
        data = file.read()
    real = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    if digest and (digest, size) != (real, str(len(data))):
        print(f"RECORD has {digest}, {size} of {path}, which is {real}, {len(data)}")


main(*sys.argv[1:])
