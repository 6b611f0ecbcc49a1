"""What a service's folder declares of its packages, where that is plain enough to know without running any of it."""

import os
import re
import tomllib


class Undeclared(Exception):
    """It takes pip to know what comes out; the message says why."""


# What of requirements.txt cannot reach beyond it and the folders of wheels that it names. No paths, addresses or other files.
OPTIONS = ("--no-index", "--require-hashes", "--prefer-binary", "--pre")
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]*\])?\s*([<>=!~][^@/;$]*)?(;[^@/$]*)?")
FILES = (".whl", ".zip", ".gz", ".tgz", ".tar", ".bz2", ".tbz", ".xz", ".txz", ".tlz", ".lz", ".lzma")
# Of [tool.setuptools] what only says which files are copied.
LISTS = {"packages", "package-dir", "py-modules", "package-data", "exclude-package-data", "include-package-data", "zip-safe"}
# Names that setuptools takes for licenses, and for a build that is there already.
LICENSES = ("LICEN", "COPYING", "NOTICE", "AUTHORS")
# What setup() may be called with, with texts and lists that stand there.
ARGUMENTS = set(
    """name version description long_description long_description_content_type author author_email maintainer maintainer_email url
    license keywords classifiers packages package_dir py_modules package_data exclude_package_data include_package_data zip_safe
    install_requires extras_require python_requires entry_points""".split()
)


def wheel_folders(source):
    """The folders below SOURCE in which pip looks for wheels, or Undeclared when it may install anything else."""
    folders = ["chillbox-wheels"]
    for line in requirement_lines(f"{source}/requirements.txt"):
        name, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("--find-links") else line.partition(" ")
        if name in ("--find-links", "-f"):
            folder = os.path.normpath(value.strip())
            if folder.startswith(("/", "..")) or ":" in folder or "$" in folder:
                raise Undeclared(f"requirements.txt looks for wheels in {folder}")
            folders.append(folder)
        elif line not in OPTIONS:
            check_requirement(line)
    for folder in folders:
        for here, _, names in os.walk(f"{source}/{folder}"):
            for name in names:
                if not name.endswith(".whl"):
                    raise Undeclared(f"{os.path.relpath(here, source)}/{name} is no wheel")
    return folders


def requirement_lines(path):
    """The lines of a requirements file, with what continues a line in it, without comments."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise Undeclared("requirements.txt is not UTF-8") from error
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in re.sub(r"\\\n", " ", text).splitlines())
    return [line for line in lines if line]


def check_requirement(line):
    requirement = re.sub(r"\s--hash[= ]\S+", "", line).strip()
    if not REQUIREMENT.fullmatch(requirement) or requirement.lower().endswith(FILES):
        raise Undeclared(f"requirements.txt has {line[:80]!r} in it")


def check_declaration(source, files):
    """Files whose contents get into more than a copy of them. Undeclared, when the folder's own package is not plainly declared for setuptools."""
    for path in files:
        parts = path.split("/")
        if path == "setup.cfg" or parts[0] == "build" or any(part.endswith(".egg-info") for part in parts):
            raise Undeclared(f"{path} takes part in the build")
    if "setup.py" in files:
        check_setup(f"{source}/setup.py")
    special = {path for path in files if "/" not in path and path.upper().startswith(LICENSES)}
    if "pyproject.toml" in files:
        special |= check_project(f"{source}/pyproject.toml")
    return special


def check_project(path):
    """The files that pyproject.toml names, or Undeclared."""
    with open(path, "rb") as file:
        try:
            content = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Undeclared(f"pyproject.toml: {error}") from error
    system = content.get("build-system", {})
    requires = [re.match(r"[A-Za-z0-9._-]*", str(name)).group().lower() for name in system.get("requires", [])]
    if system.get("build-backend", "setuptools.build_meta") != "setuptools.build_meta" or "backend-path" in system or set(requires) - {"setuptools", "wheel"}:
        raise Undeclared("pyproject.toml does not build with setuptools alone")
    tool = content.get("tool", {})
    if set(tool.get("setuptools", {})) - LISTS or "distutils" in tool:
        raise Undeclared("pyproject.toml tells setuptools more than what to copy")
    project = content.get("project", {})
    if project.get("dynamic") or "license-files" in project:
        raise Undeclared("pyproject.toml has fields that come from files")
    named = (project.get("readme"), project.get("license"))
    paths = [value.get("file") if isinstance(value, dict) else value for value in named]
    return {os.path.normpath(path) for path in paths if isinstance(path, str)}


def check_setup(path):
    """Raises Undeclared unless setup.py is one call of setup() with values that stand there."""
    import ast

    with open(path, "rb") as file:
        try:
            statements = ast.parse(file.read()).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Undeclared(f"setup.py: {error}") from error
    calls = 0
    for statement in statements:
        match statement:
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.ImportFrom(module="setuptools", level=0, names=names) if all(name.name in ("setup", "find_packages") and not name.asname for name in names):
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="setup"), args=[], keywords=keywords)):
                calls += 1
                for keyword in keywords:
                    if keyword.arg not in ARGUMENTS or not stands_there(ast, keyword.value):
                        raise Undeclared(f"setup.py works out {keyword.arg or 'its arguments'}")
            case _:
                raise Undeclared(f"setup.py does more than to call setup(), in line {statement.lineno}")
    if calls != 1:
        raise Undeclared("setup.py does not call setup() once")


def stands_there(ast, value):
    if isinstance(value, ast.Call):
        named = isinstance(value.func, ast.Name) and value.func.id == "find_packages"
        return named and all(stands_there(ast, each) for each in [*value.args, *(keyword.value for keyword in value.keywords)])
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
