"""Reads a copy of a Python service's folder, and makes it one that pip can resolve on another machine.

python3 -IS prepare-service.py SERVICE WORK CARRIED...
  SERVICE  the copy; its requirements files may be changed
  WORK     an empty folder, which gets installed/ (what counts as installed on the server: the CARRIED folders' wheels) and stubs/
Prints one JSON object:
  {"requirements": bool,    whether requirements.txt asks for anything
   "dependencies": [...],   what the service's own folder needs installed before it is built: its dependencies, and a build backend
   "archives": [{"path", "name", "version"}]}   wheels and source archives of the release

pip builds a source archive on the server, without a compiler. What would come out cannot be known here without running it, so each gets a
stub: an empty wheel with its metadata, which resolves like it. Lines that name a folder or such an archive by its path are left out.
"""

import configparser
import email
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import tomllib
import zipfile

ARCHIVE = re.compile(r"\.(whl|tar\.gz|tgz|zip)$")
BY_PATH = re.compile(r"^\s*(-e\b|--editable\b|\.|/|file:|--no-binary\b)(?!.*\.whl)")


def main(service, work, *carried):
    for folder in carried:
        for name in os.listdir(folder):
            if name.endswith(".whl"):
                note_installed(os.path.join(folder, name), os.path.join(work, "installed"))
    os.makedirs(os.path.join(work, "stubs"))
    archives, hashes = [], {}
    for folder, _, names in os.walk(service):
        for name in filter(ARCHIVE.search, sorted(names)):
            path = os.path.join(folder, name)
            found = read_wheel_name(name) if name.endswith(".whl") else make_stub(path, os.path.join(work, "stubs"), hashes)
            if found:
                archives.append({"path": os.path.relpath(path, service), "name": found[0], "version": found[1]})
    rewrite(service, hashes)
    requirements = read(os.path.join(service, "requirements.txt"))
    result = {
        "requirements": re.search(r"^ *[^ #\n]", requirements, re.M) is not None,
        "dependencies": own_dependencies(service),
        "archives": archives,
    }
    print(json.dumps(result))


def note_installed(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
                archive.extract(name, folder)


def read_wheel_name(name):
    parts = name.split("-")
    return (normal(parts[0]), parts[1]) if len(parts) >= 5 else None


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def make_stub(path, folder, hashes):
    """Names and versions come from PKG-INFO; an archive without one is no package."""
    metadata = read_metadata(path)
    if not metadata or not metadata["Name"] or not metadata["Version"]:
        return None
    name, version = normal(metadata["Name"]).replace("-", "_"), metadata["Version"]
    stub = os.path.join(folder, f"{name}-{version}-py3-none-any.whl")
    lines = ["Metadata-Version: 2.1", f"Name: {metadata['Name']}", f"Version: {version}"]
    for key in ("Requires-Dist", "Requires-Python", "Provides-Extra"):
        lines += [f"{key}: {value}" for value in metadata.get_all(key, [])]
    with zipfile.ZipFile(stub, "w") as archive:
        for inside, text in (("METADATA", "\n".join(lines) + "\n"), ("WHEEL", WHEEL), ("RECORD", "")):
            archive.writestr(zipfile.ZipInfo(f"{name}-{version}.dist-info/{inside}"), text)
    hashes[digest(path)] = digest(stub)
    return normal(metadata["Name"]), version


WHEEL = "Wheel-Version: 1.0\nGenerator: chillbox\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def read_metadata(path):
    top = re.compile(r"(\./)?[^/]+/PKG-INFO")
    try:
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                text = next((archive.read(name) for name in archive.namelist() if top.fullmatch(name)), None)
        else:
            with tarfile.open(path) as archive:
                text = next((archive.extractfile(entry).read() for entry in archive if top.fullmatch(entry.name)), None)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile):
        return None
    return text and email.message_from_string(text.decode("utf-8", "replace"))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rewrite(service, hashes):
    """A stub is as good as the archive that it stands for, so its hash is, too."""
    for folder, _, names in os.walk(service):
        for name in names:
            path = os.path.join(folder, name)
            if not name.endswith((".txt", ".in")) or os.path.islink(path):
                continue
            text = read(path)
            kept = "".join(line for line in text.splitlines(True) if not BY_PATH.match(line))
            # It is said when pip is called, or else what the release lacks could not be fetched.
            kept = re.sub(r"(?m)(^|\s)--no-index(?=\s|$)", r"\1", kept)
            for original, stub in hashes.items():
                kept = kept.replace(f"sha256:{original}", f"sha256:{original} --hash=sha256:{stub}")
            if kept != text:
                with open(path, "w", encoding="utf-8", newline="") as file:
                    file.write(kept)


def own_dependencies(service):
    """What is written down; what a setup.py computes is known to nobody before it runs."""
    text = read(os.path.join(service, "pyproject.toml"))
    try:
        project = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        sys.exit(f"pyproject.toml: {error}")
    dependencies = list(project.get("project", {}).get("dependencies", []))
    build = project.get("build-system", {})
    backend = build.get("build-backend", "setuptools.build_meta").partition(":")[0].partition(".")[0]
    if backend != "setuptools" and "backend-path" not in build:
        # It is not asked for by version: pip does not isolate the build.
        dependencies += [re.match(r"\s*[\w.-]*", need).group() for need in build.get("requires", [])]
    if "project" not in project:
        setup = configparser.ConfigParser(interpolation=None)
        try:
            setup.read_file(io.StringIO(read(os.path.join(service, "setup.cfg"))))
        except configparser.Error as error:
            sys.exit(f"setup.cfg: {error}")
        needs = setup.get("options", "install_requires", fallback="")
        dependencies += [line.strip() for line in needs.splitlines() if line.strip() and not line.startswith(("#", "file:"))]
    return dependencies


def read(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except UnicodeDecodeError:
        sys.exit(f"{os.path.basename(path)} is not UTF-8 text")


main(*sys.argv[1:])
