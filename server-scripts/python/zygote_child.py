"""What a fork of the zygote does: stops being root, then serves one site as gunicorn's own worker would, without its master process."""

import atexit
import ctypes
import faulthandler
import os
import signal
import site
import sys
import time
import traceback

from confine import confine

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
LIBC = ctypes.CDLL(None, use_errno=True)
# As gunicorn has them: a worker that did not come up, and an application that could not be loaded.
BOOT_ERROR, LOAD_ERROR = 3, 4


def live(plan, descriptors, parent):
    """Serves until it is told to end. Never returns."""
    code = 1
    try:
        drop(plan, descriptors, parent)
        enter(plan)
        code = serve(plan)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  nothing may go on as a second zygote
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()  # noqa: SLF001  os._exit() would leave them out; sys.exit() would unwind the zygote
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code & 255)


def drop(plan, descriptors, parent):
    """Gives up root, and all that is open but the socket, the log and s6's notification. Raises OSError rather than keeping any of it."""
    # SIGPIPE stays ignored, as Python has it for every program: it would end the service when a visitor goes before the answer.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        if signal.getsignal(number) is not signal.SIG_DFL and number < signal.SIGRTMIN:
            signal.signal(number, signal.SIG_DFL)
    os.setsid()
    arrange(descriptors)
    join_groups(os.path.basename(plan["unit"]))
    os.setpriority(os.PRIO_PROCESS, 0, plan["niceness"])
    confine(plan["user"], f"{plan['user']}/{plan['service']}")
    # As for a program that the site's user has started: its own /proc/self is its own. Nothing of root's is left in its memory.
    control(PR_SET_DUMPABLE, 1)
    # The kernel forgets this when the user changes, so it comes after that; and the parent may have gone before it.
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError("the zygote is gone")
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()):
        raise OSError("still root")


def arrange(descriptors):
    """The listener becomes 3, as systemd would hand it on; the log 1 and 2; the notification 4; everything else is closed."""
    listener, log, notification = (os.dup2(number, 100 + place) for place, number in enumerate(descriptors))
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2), (listener, 3), (notification, 4)):
        os.dup2(source, target)
    os.closerange(5, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 65536)


def join_groups(name):
    """The control groups of its waiter, and its place in the line when memory runs out: see lib/limits.sh and chillbox-limit."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")
    for controller in ("", "memory/", "pids/", "cpu/"):
        path = f"/sys/fs/cgroup/{controller}sites/{name}/cgroup.procs"
        if os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write("0")


def control(option, value):
    if LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def enter(plan):
    """The site's environment, folder and virtual environment."""
    os.environ.clear()
    os.environ["PATH"] = f"{plan['venv']}/bin:/usr/local/bin:/usr/bin:/bin"
    for name in os.listdir(plan["environment"]):
        with open(f"{plan['environment']}/{name}", encoding="utf-8", newline="") as file:
            text = file.read()
        if name == ".empty":
            os.environ.update({word.rstrip("="): "" for word in text.split()})
        else:
            os.environ[name] = text
    for name, value in plan["own"].items():
        os.environ[name] = value.replace("$service", plan["unit"])
    time.tzset()
    os.chdir(plan["app"])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)
    forget_packages(plan)
    sys.prefix = sys.exec_prefix = plan["venv"]
    sys.executable = f"{plan['venv']}/bin/python"
    # gunicorn looks at these when it is loaded, which was in the zygote.
    settings = ["--chdir", plan["app"], "--forwarded-allow-ips", os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")]
    sys.argv = ["gunicorn", *settings, *(word.replace("$service", plan["unit"]) for word in plan["arguments"])]
    site.addsitedir(f"{plan['venv']}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")


def forget_packages(plan):
    """A site must not find a package that it did not bring."""
    for package, tops in plan["preloaded"].items():
        if package not in plan["packages"]:
            for name in [name for name in sys.modules if name.split(".")[0] in tops]:
                del sys.modules[name]


def serve(plan):
    """gunicorn's sync worker, with what its master would do for it: the settings, the socket, and an end for a request that hangs."""
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.errors import AppImportError
    from gunicorn.sock import create_sockets
    from gunicorn.workers.sync import SyncWorker

    class WatchedWorker(SyncWorker):
        def notify(self):
            super().notify()
            if self.cfg.timeout:
                faulthandler.dump_traceback_later(self.cfg.timeout, exit=True)

    application = WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")
    settings = application.cfg
    log = settings.logger_class(settings)
    listeners = create_sockets(settings, log, [3])
    worker = WatchedWorker(1, os.getppid(), listeners, application, settings.timeout / 2, settings, log)
    worker.pid = os.getpid()
    log.info("Listening at: %s (%s), forked from the zygote", ",".join(str(each) for each in listeners), worker.pid)
    try:
        worker.init_process()
        return 0
    except AppImportError as error:
        log.error("%s", error)
        return LOAD_ERROR
    except SystemExit:
        raise
    except Exception:  # noqa: BLE001  whatever the application raised
        log.exception("Exception in worker process")
        return BOOT_ERROR if not worker.booted else 1
    finally:
        log.info("Worker exiting (pid: %s)", worker.pid)
