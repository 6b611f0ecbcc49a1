"""Makes a service's virtual environment out of that of an earlier release: chillbox-venv-copy tells when."""

import base64
import hashlib
import importlib.util
import json
import marshal
import os
import pwd
import re
import shutil
import struct
import sys
import warnings

from declared import Undeclared, check_declaration, wheel_folders

# Of the directory of a virtual environment; the same for every one, since venv made them all.
PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
# What an installed package may bring along that takes part in the building of others.
PLUGINS = re.compile(r"^\[(distutils|setuptools|egg_info)\b", re.MULTILINE)
BUILD = ".build/source"


def changes(source, venv, earlier_source, earlier_venv, parts):
    """{path in site-packages: path in SOURCE} of what differs, or Undeclared."""
    check_kept(earlier_venv, parts)
    if os.path.dirname(earlier_venv) != os.path.dirname(os.path.abspath(venv)):
        raise Undeclared("the earlier environment is another site's")
    files, earlier_files = contents(source), contents(earlier_source)
    folders = wheel_folders(source)
    needed = [path for path in {*files, *earlier_files} if is_of(path, folders)]
    for path in ("requirements.txt", "pyproject.toml", "setup.py", *needed):
        if files.get(path) != earlier_files.get(path):
            raise Undeclared(f"{path} changed")
    metadata = own_metadata(earlier_venv)
    if metadata is None:
        if "pyproject.toml" in files or "setup.py" in files:
            raise Undeclared("the service's own package is not there")
        # Nothing of the folder gets into the environment but the wheels.
        return {}
    if files.keys() != earlier_files.keys():
        raise Undeclared("files were added or removed")
    special = check_declaration(source, files)
    rows = own_rows(f"{earlier_venv}/{PACKAGES}", metadata)
    found = {}
    for path in sorted(files):
        if files[path] != earlier_files[path]:
            if path in special or files[path][0] != earlier_files[path][0]:
                raise Undeclared(f"{path} changed")
            found[target_of(path, earlier_files, rows)] = path
    return found


def check_kept(venv, parts):
    """Raises Undeclared unless the environment was made for this Python and with these packages of the server's."""
    if os.stat(venv).st_uid != 0:
        raise Undeclared("the earlier environment is not complete")
    with open(f"{venv}/pyvenv.cfg", encoding="utf-8") as file:
        if f"version = {sys.version.split()[0]}\n" not in file.read():
            raise Undeclared("the server has another Python")
    carried = os.path.realpath(f"{os.environ.get('ROOT', '')}/var/lib/chillbox/python/current")
    with open(f"{venv}/{PACKAGES}/chillbox.pth", encoding="utf-8") as file:
        if file.read() != "".join(f"{carried}/{part}\n" for part in parts):
            raise Undeclared("the server carries other packages")
    for name in os.listdir(f"{venv}/{PACKAGES}"):
        if name.endswith(".pth") and name != "chillbox.pth":
            raise Undeclared(f"{name} runs whenever Python starts")
        if name.endswith(".dist-info") and PLUGINS.search(text(f"{venv}/{PACKAGES}/{name}/entry_points.txt")):
            raise Undeclared(f"{name} takes part in the building of packages")


def text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def contents(folder):
    """{path below the folder: (mode, SHA-256)} of all files."""
    found = {}
    for here, folders, names in os.walk(folder):
        for name in folders + names:
            if os.path.islink(os.path.join(here, name)):
                raise Undeclared(f"{name} is a link")
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = (os.fstat(file.fileno()).st_mode & 0o111, hashlib.sha256(file.read()).digest())
    return found


def is_of(path, folders):
    return any(folder == "." or path.startswith(f"{folder}/") for folder in folders)


def own_metadata(venv):
    """The name of the folder of metadata of the service's own package, or None."""
    found = []
    for name in os.listdir(f"{venv}/{PACKAGES}"):
        origin = text(f"{venv}/{PACKAGES}/{name}/direct_url.json") if name.endswith(".dist-info") else ""
        if origin:
            if json.loads(origin) != {"dir_info": {}, "url": f"file://{venv}{BUILD}"}:
                raise Undeclared(f"{name} is of another folder")
            found.append(name)
    if len(found) > 1:
        raise Undeclared("the service has several packages of its own")
    return found[0] if found else None


def own_rows(packages, metadata):
    """{path in site-packages: what RECORD says of its contents} of the package's files."""
    rows = {}
    for line in text(f"{packages}/{metadata}/RECORD").splitlines():
        path, digest, _ = line.rsplit(",", 2)
        if '"' in path:
            raise Undeclared(f"{path} has an unusual name")
        if not path.startswith(("..", "/", metadata)) and digest:
            rows[path] = digest
    return rows


def target_of(path, files, rows):
    """Where the build put this file: the one place that has its path and its contents, which no other file may have as well."""
    targets = [target for target in rows if is_end(target, path) and rows[target] == row_digest(files[path][1])]
    if len(targets) != 1 or sum(is_end(targets[0], other) for other in files) != 1:
        raise Undeclared(f"{path} changed, and is not simply copied")
    return targets[0]


def is_end(target, path):
    return path == target or path.endswith(f"/{target}")


def row_digest(digest):
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def copy(slug, source, venv, earlier, changed):
    """Fills a new folder and gives it the name VENV, which it has in it from the start."""
    new = f"{venv}.new"
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(venv, ignore_errors=True)
    user = pwd.getpwnam(slug)
    bytecode = {importlib.util.cache_from_source(target): target for target in changed if target.endswith(".py")}
    # What venv and pip wrote with the environment's path in it, by the path that RECORD has for it. Both paths differ in their last part,
    # which is a digest, alone.
    renamed, digests = {}, [os.path.basename(path).encode() for path in (earlier, venv)]
    os.umask(0o027)
    for here, folders, names in os.walk(earlier):
        inside = os.path.relpath(here, earlier)
        place(os.mkdir, os.path.normpath(f"{new}/{inside}"), user)
        for name in folders + names:
            path = os.path.normpath(os.path.join(inside, name))
            target = os.path.relpath(path, PACKAGES)
            if os.path.islink(f"{earlier}/{path}"):
                place(lambda at, to=os.readlink(f"{earlier}/{path}"): os.symlink(to, at), f"{new}/{path}", user)
            elif name in folders or target in bytecode or name == "RECORD" and inside.endswith(".dist-info"):
                continue
            elif target in changed:
                write(f"{new}/{path}", read(f"{source}/{changed[target]}"), f"{earlier}/{path}", user)
            elif path == "pyvenv.cfg" or path.startswith("bin/") or name == "direct_url.json":
                renamed[target] = read(f"{earlier}/{path}").replace(*digests)
                write(f"{new}/{path}", renamed[target], f"{earlier}/{path}", user)
            else:
                os.link(f"{earlier}/{path}", f"{new}/{path}")
    for cached, target in bytecode.items():
        if os.path.exists(f"{earlier}/{PACKAGES}/{cached}"):
            compiled = compiled_as(user, f"{new}/{PACKAGES}/{target}", f"{venv}/{PACKAGES}/{target}")
            write(f"{new}/{PACKAGES}/{cached}", compiled, f"{earlier}/{PACKAGES}/{cached}", user)
        else:
            raise Undeclared(f"{target} could not be compiled before")
    contents_now = {**renamed, **{target: read(f"{new}/{PACKAGES}/{target}") for target in changed}}
    for name in os.listdir(f"{earlier}/{PACKAGES}"):
        if name.endswith(".dist-info"):
            record = f"{PACKAGES}/{name}/RECORD"
            write(f"{new}/{record}", recorded(read(f"{earlier}/{record}"), contents_now), f"{earlier}/{record}", user)
    os.rename(new, venv)


def place(make, path, user):
    make(path)
    os.chown(path, 0, user.pw_gid, follow_symlinks=False)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content, like, user):
    with open(path, "wb") as file:
        file.write(content)
        os.fchown(file.fileno(), 0, user.pw_gid)
        os.fchmod(file.fileno(), os.stat(like).st_mode & 0o777)


def recorded(record, contents_now):
    """A RECORD in which the lines of these files tell of their new contents."""
    lines = record.decode().splitlines(keepends=True)
    for number, line in enumerate(lines):
        content = contents_now.get(line.rsplit(",", 2)[0])
        if content is not None:
            end = line[len(line.rstrip("\r\n")) :]
            lines[number] = f"{line.rsplit(',', 2)[0]},{row_digest(hashlib.sha256(content).digest())},{len(content)}{end}"
    return "".join(lines).encode()


def compiled_as(user, path, name):
    """The bytecode of a file as pip has it made (PEP 552, by time and size). Python's parser reads what the site wrote, so the site's user runs it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([user.pw_gid])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            warnings.simplefilter("ignore")
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(marshal.dumps(compile(read(path), name, "exec", dont_inherit=True)))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        code = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise Undeclared(f"{os.path.basename(path)} cannot be compiled")
    status = os.stat(path)
    return importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF) + code
