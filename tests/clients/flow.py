"""What the client flows share: connections, keys of their own, and claims.

A flow is a script with functions marked `@claim`. The function's name is the claim; it holds if the function returns and
fails if an assertion fails. `run()` at the script's end checks all claims in order and exits non-zero if one fails.
The server is the one at TUFF_HOST (default 127.0.0.1) and TUFF_PORT (default 6379); nothing in it is ever flushed.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import redis

WAIT_S = 30  # how long anything that must happen may take
_run = f"{os.getpid()}-{time.time_ns()}"
_numbers = itertools.count()
_claims = []


def connect(**options):
    """A client, with text replies unless told otherwise."""
    host, port = os.environ.get("TUFF_HOST", "127.0.0.1"), int(os.environ.get("TUFF_PORT", "6379"))
    return redis.Redis(**{"host": host, "port": port, "decode_responses": True, "socket_timeout": 2 * WAIT_S, **options})


def key(name):
    """A new key that nobody else uses, in this run or another."""
    return f"{name}:{_run}-{next(_numbers)}"


def own_server():
    """A server of the caller's own, which loses nothing that it has answered; to be used in a `with` statement."""
    from serverprocess import ServerProcess

    return ServerProcess(f"{os.environ['TUFF_SERVER']} --appendonly yes --appendfsync always")


class Worker:
    """A Python process that is started again whenever it ends, until the `with` statement is over."""

    def __init__(self, *command):
        self._command = [sys.executable, *command]
        self._is_over = threading.Event()
        self._output = tempfile.TemporaryFile()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._is_over.set()
        self._keeper.join()
        # The process and those it has forked: a group of its own.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if kind:
            self._output.seek(0)
            print(self._output.read()[-6000:].decode(errors="replace"), flush=True)

    def _start(self):
        return subprocess.Popen(
            self._command,
            cwd=os.path.dirname(os.path.abspath(__file__)),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

    def _keep(self):
        while not self._is_over.wait(0.05):
            if self._process.poll() is not None:
                self._process = self._start()


def claim(function):
    _claims.append(function)
    return function


def needs(*commands):
    """Marks a claim that is passed over, and said to be, where the server lacks one of these commands."""

    def mark(function):
        function.commands = commands
        return function

    return mark


def missing_commands(function):
    wanted = getattr(function, "commands", ())
    return sorted(set(wanted) - set(connect().command_list())) if wanted else []


def wait_until(condition, what):
    """Returns when `condition()` is true; fails if it does not become so."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit, f"waited {WAIT_S} s in vain until {what}"
        time.sleep(0.005)


def in_threads(count, work):
    """Runs `work(number)` in `count` threads at once and returns their results in order; the first error is raised."""
    results, errors = [None] * count, []

    def run_one(number):
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run_one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WAIT_S)
        if errors:
            raise errors[0]
        assert not thread.is_alive(), "a thread hangs"
    return results


def run():
    failures = 0
    for function in _claims:
        text = function.__name__.replace("_", " ")
        try:
            if missing := missing_commands(function):
                print(f"  skipped {text}: the server has no {', '.join(missing)}", flush=True)
                continue
            function()
            print(f"  ok      {text}", flush=True)
        except Exception:
            failures += 1
            print(f"  FAILED  {text}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failures else 0)
