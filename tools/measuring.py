"""What the tools/measure-* programs share: a Tuff to measure, the load generator, a memory cgroup, clients, tables.

Every figure comes from `tuff bench` (latencies, rates), from the server's metrics page, or from /proc. Sizes are given as in
redis.conf: 512mb, 1gb, and so are numbers: 4m is four million.
"""

import argparse
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from serverprocess import TUFF, ServerProcess, free_port

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
IDLE_WINDOW_S = 1.0
IDLE_SHARE_MAX = 0.03  # what a server does when nobody asks: timers
UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 2**10, "m": 10**6, "mb": 2**20, "g": 10**9, "gb": 2**30}


def number(text):
    """A size or a count: 512mb, 4m, 1000."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", text.lower().replace("_", ""))
    if not match or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 1000, 4m, or 512mb")
    return int(float(match[1]) * UNITS[match[2]])


def megabytes(size):
    return f"{size / 2**20:,.0f}"


def parser(doc):
    """A parser with the options that all tools have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tuff", default=TUFF, help="the program: server and load generator")
    made.add_argument("--server-options", default="", help="more options for the server, such as '--workers 1'")
    made.add_argument("--dir", help="where the server's temporary folder goes, if not to the system's place")
    return made


def machine():
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown processor")
    with open("/proc/meminfo") as meminfo:
        total = int(re.search(r"MemTotal:\s+(\d+) kB", meminfo.read())[1]) * 1024
    return f"{os.cpu_count()} cores of {model}, {total / 2**30:.0f} GB of memory"


class Tuff(ServerProcess):
    """A Tuff with a metrics page, in a cgroup if there is one."""

    def __init__(self, options, *settings, cgroup=None):
        self.metrics_port = free_port()
        command = [options.tuff, "server", "--port", "{port}", "--dir", "{dir}", "--metrics-port", str(self.metrics_port)]
        command += [str(word) for word in settings] + shlex.split(options.server_options)
        super().__init__((cgroup.prefix() if cgroup else "") + shlex.join(command), options.dir)

    def metrics(self):
        """The metrics page as a dict from name (with its labels) to number."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            lines = (line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line and line[0] != "#")
            return {name: float(value) for name, value in lines}

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE_BYTES

    def cpu_s(self):
        """User and system time so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()  # the name in parentheses may hold spaces
        return sum(int(field) for field in fields[11:13]) / TICKS_PER_S

    def wait_until_idle(self, timeout_s=600):
        """Returns when it has done next to nothing for a second: flushes and compactions are over."""
        limit = time.monotonic() + timeout_s
        before = self.cpu_s()
        while time.monotonic() < limit:
            time.sleep(IDLE_WINDOW_S)
            now = self.cpu_s()
            if now - before <= IDLE_SHARE_MAX * IDLE_WINDOW_S:
                return
            before = now
        note(f"the server is still busy after {timeout_s} s")


def lag_max_s(before, after):
    """The upper bound of the slowest turn of a worker's loop between two metrics pages; buckets are powers of two."""
    pattern = re.compile(r'tuff_worker_loop_lag_seconds_bucket\{.*?le="([^"]+)".*\}')
    buckets = [(float(match[1]), name) for name in after if (match := pattern.fullmatch(name))]
    counts = [(bound, after[name] - before.get(name, 0)) for bound, name in sorted(buckets)]
    total = counts[-1][1] if counts else 0
    return next((bound for bound, count in counts if count >= total), float("nan")) if total else 0.0


class Bench:
    """`tuff bench` in the background; `words` are its options. A nice one leaves the processors to whoever else wants them."""

    def __init__(self, options, port, *words, nice=0):
        command = [*(["nice", "-n", nice] if nice else []), options.tuff, "bench", "--json", "--port", port, *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def result(self, may_fail=False):
        """Waits for its end and returns its last phase; ends the program if there were failures that may not be."""
        out, err = self.process.communicate()
        if self.process.returncode != 0 and not (may_fail and out):
            sys.exit(f"{shlex.join(self.process.args)} failed: {err.decode()}{out.decode()}")
        return json.loads(out)["phases"][-1]

    def stop(self):
        """Ends it before its time."""
        self.process.terminate()
        self.process.communicate()

    def is_running(self):
        return self.process.poll() is None


def bench(options, port, *words, may_fail=False):
    return Bench(options, port, *words).result(may_fail)


class Cgroup:
    """A memory cgroup, version 2 or 1, below this process' own (or, as version 2 wants it, below the root)."""

    def __init__(self, bytes_max):
        self.folder = None
        self.why_not = None
        for parent, limit in candidates():
            folder = os.path.join(parent, f"tuff-measure-{os.getpid()}")
            try:
                os.mkdir(folder)
                self.folder = folder
                with open(os.path.join(folder, limit), "w") as file:
                    file.write(str(bytes_max))
                return
            except OSError as error:
                self.why_not = str(error)
                self.remove()
        self.why_not = self.why_not or "no memory controller is mounted"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        if self.folder:
            try:
                os.rmdir(self.folder)
            except OSError as error:
                note(f"{self.folder} stays: {error}")
            self.folder = None

    def prefix(self):
        """What a shell-like command begins with so that it runs in the group; empty if there is none."""
        if not self.folder:
            return ""
        join = f'echo $$ > {shlex.quote(self.folder)}/cgroup.procs && exec "$@"'
        return f"sh -c {shlex.quote(join)} sh "

    def describe(self, bytes_max):
        if self.folder:
            return f"in a memory cgroup of {megabytes(bytes_max)} MB (page cache included)"
        return f"WITHOUT a memory cgroup ({self.why_not}): the system's page cache is not bounded, and the disk hardly read"


def candidates():
    """Folders in which a memory cgroup could be made, each with the name of the file that holds the limit."""
    root = "/sys/fs/cgroup"
    try:
        with open(os.path.join(root, "cgroup.subtree_control")) as file:
            if "memory" in file.read().split():
                yield root, "memory.max"
    except OSError:
        pass
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if "memory" in controllers.split(","):
                yield os.path.join(root, "memory", path.lstrip("/")), "memory.limit_in_bytes"


class Client:
    """A blocking RESP2 client on a socket."""

    def __init__(self, port, timeout_s=120):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.replies = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.replies.close()
        self.socket.close()

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def run(self, *words):
        self.send(*words)
        return self.read()

    def read(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(text.decode())
        if kind == b"$":
            return None if text == b"-1" else self.replies.read(int(text) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(text))]
        return int(text) if kind == b":" else text.decode()


class ResidentSampler:
    """Watches the server's resident memory from a thread; use it in a `with` statement, then read `bytes_max`."""

    def __init__(self, server, interval_s=0.05):
        self.bytes_max = 0
        self._server = server
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while True:
            try:
                self.bytes_max = max(self.bytes_max, self._server.resident_bytes())
            except OSError:
                return  # the server is gone
            if self._ended.wait(self._interval_s):
                return


def note(text):
    """Says what goes on, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def head(*columns):
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns), flush=True)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def latency_cells(result, *names):
    """Latencies in milliseconds."""
    return [f"{result['latency_us'][name] / 1000:.3f}" for name in names]
