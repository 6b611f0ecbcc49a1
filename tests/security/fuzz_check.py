"""Checks on a server that texts of site files come back from what is rendered of them, byte for byte, by the tools that read it.

Usage: fuzz_check.py FOLDER <samples     FOLDER is made and removed again
Standard input has a sample a line, see fuzz-fields.ts. Prints {"taken": n, "refused": [text], "wrong": [text]}.
"""

import glob
import http.client
import importlib.machinery
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time

SCRIPTS = "/usr/local/lib/chillbox/current"
PORT = 18080


def load_manifest():
    loader = importlib.machinery.SourceFileLoader("chillbox_manifest", f"{SCRIPTS}/chillbox-manifest")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("chillbox_manifest", loader))
    loader.exec_module(module)
    return module


def main(folder):
    program = load_manifest()
    said = {"taken": 0, "refused": [], "wrong": []}
    served = []
    os.makedirs(f"{folder}/nginx")
    for number, line in enumerate(sys.stdin):
        sample = json.loads(line)
        release = f"{folder}/1.0.0+0123456789ab"
        try:
            program.render(program.check(sample["manifest"]), release, SCRIPTS)
        except program.Wrong as error:
            said["refused"].append(f"{sample['field']} {sample['text']!r}: {error}")
            shutil.rmtree(release, ignore_errors=True)
            continue
        said["taken"] += 1
        for back in sample["backs"]:
            if back["by"] == "nginx":
                keep_server(release, f"{folder}/nginx/{number}.conf")
                served.append((sample, back))
                continue
            problem = CHECKS[back["by"]](release, back)
            if problem:
                said["wrong"].append(f"{sample['field']} {sample['text']!r}: {problem}")
        shutil.rmtree(release)
    said["wrong"] += ask_nginx(folder, served)
    shutil.rmtree(folder)
    print(json.dumps(said))


def bytes_of(text):
    return text.encode("utf-8", "surrogatepass")


def environment(release, back):
    folder = f"{release}/env/{back['of']}"
    command = 'exec env -i PATH=/usr/bin:/bin $(cat "$1/.empty") s6-envdir -fn "$1" /usr/bin/env -0'
    found = subprocess.run(["sh", "-c", command, "sh", folder], capture_output=True, check=False)
    wanted = bytes_of(f"{back['name']}={back['text']}")
    if wanted not in found.stdout.split(b"\0"):
        return f"the environment has no {wanted!r}: {found.stdout[-300:]!r} {found.stderr!r}"
    return None


def words_of_run(release, unit):
    """The words that the shell makes of the last command of a run script."""
    with open(f"{release}/services/{unit}/run", encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read()
    last = text[text.rindex("\nexec ") + len("\nexec ") :]
    return shell_words(last)


def shell_words(command):
    script = f'words() {{ printf "%s\\0" "$@"; }}\nservice=/unit\nwords {command}'
    done = subprocess.run(["sh", "-c", script.encode("utf-8", "surrogateescape")], capture_output=True, check=False)
    return done.stdout.split(b"\0")[:-1]


def shell(release, back):
    words = words_of_run(release, back["unit"])
    return None if bytes_of(back["text"]) in words else f"the run script has {words!r}"


def words(release, back):
    found = words_of_run(release, back["unit"])
    found = found[found.index(b"CHILLBOX_WORKER=1") + 1 :]
    if found[:2] == [b"sh", b"-c"] and found[3:4] == [b"worker"]:
        wanted = [*found[:4], bytes_of(back["text"])]
    else:
        wanted = shell_words(back["text"])
    return None if found == wanted else f"the worker runs {found!r} and not {wanted!r}"


def cron(release, back):
    """The added line is the second. A remark has no command."""
    line = back["text"].strip(" \t")
    path = f"{release}/services/_cron/data/private/command.1"
    if not os.path.exists(path):
        return None if line == "" or line.startswith("#") else "it is not run"
    with open(path, "rb") as file:
        command = file.read()
    ends = bytes_of(line).endswith(command[:-1]) and command.endswith(b"\n") and command != b"\n"
    whole = not line.startswith("echo ") or command == bytes_of(f"{line}\n")
    return None if ends and whole else f"the shell gets {command!r}"


def version(release, back):
    with open(f"{release}/version.txt", "rb") as file:
        found = file.read()
    return None if found == bytes_of(back["text"] + "\n") else f"visitors get {found!r}"


def redis(release, back):
    if back["text"] == "":
        return None
    for folder in ("/run/redis/fuzz", "/var/lib/fuzz/_redis"):
        os.makedirs(folder, exist_ok=True)
    conf = f"{release}/services/_redis/data/private/redis.conf"
    server = subprocess.Popen(["redis-server", conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        link = connect(server, "/run/redis/fuzz/sock")
        if link is None:
            return f"Redis does not start: {server.stdout.read()[-300:]!r}"
        with link:
            password = bytes_of(back["text"])
            link.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password))
            answer = link.recv(200)
            return None if answer == b"+OK\r\n" else f"Redis says {answer!r} to the password"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def connect(server, path):
    """A connection once the server listens; None when it ends before."""
    while server.poll() is None:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(path)
            return link
        except OSError:
            link.close()
            time.sleep(0.002)
    return None


CHECKS = {"environment": environment, "shell": shell, "words": words, "cron": cron, "version": version, "redis": redis}


def keep_server(release, path):
    """A site's configuration without its cache, of which all would have the same one."""
    with open(f"{release}/nginx/fuzz.conf", encoding="utf-8", newline="") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text[text.index("\n") + 1 :])


def ask_nginx(folder, served):
    """One nginx with all of them, each under a name of its own."""
    problems = []
    os.makedirs("/etc/nginx/conf.d", exist_ok=True)
    include = "/etc/nginx/conf.d/fuzz.ssl_cert.include"
    with open(include, "w", encoding="utf-8") as file:
        file.write(f"listen 127.0.0.1:{PORT};\n")
    conf = f"{folder}/nginx.conf"
    with open(conf, "w", encoding="utf-8") as file:
        file.write(
            f"pid {folder}/pid;\nerror_log stderr;\nevents {{ }}\nhttp {{\n  access_log off;\n  server_names_hash_bucket_size 128;\n"
            f"  server_names_hash_max_size 8192;\n  include {folder}/nginx/*.conf;\n}}\n"
        )
    test = subprocess.run(["nginx", "-t", "-q", "-c", conf], capture_output=True, text=True, errors="replace", check=False)
    if test.returncode != 0:
        return [f"nginx refuses what was taken: {test.stderr[-400:]} {broken(test.stderr)}"]
    server = subprocess.Popen(["nginx", "-c", conf, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(server)
        link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        for sample, back in served:
            link.request("GET", "/", headers={"Host": back["domain"]})
            answer = link.getresponse().read()
            if answer != bytes_of(back["text"]):
                problems.append(f"{sample['field']} {sample['text']!r}: nginx answers {answer!r}")
    finally:
        server.terminate()
        server.wait()
        os.remove(include)
    return problems


def broken(message):
    """The text of the configuration that nginx complains about."""
    paths = [path for path in glob.glob("/run/fuzz/nginx/*.conf") if f"{path}:" in message]
    return open(paths[0], encoding="utf-8").read() if paths else ""


def wait_for_port(server):
    while server.poll() is None:
        with socket.socket() as link:
            if link.connect_ex(("127.0.0.1", PORT)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit("nginx has ended")


if __name__ == "__main__":
    main(sys.argv[1])
