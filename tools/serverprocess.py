"""Server processes for the programs in this folder: any Redis-protocol server on a free loopback port.

A command is a template with {port} and {dir}, split as a shell would split it. The folder is new and temporary, the
process is ended by its own id, and a server that does not answer PING in time is an error that shows its log.
"""

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tuff")
ORACLE = os.environ.get("TUFF_ORACLE") or os.path.join(CACHE, "oracle", "redis-server")
TUFF = os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release", "tuff")


class ServerProcess:
    """A running server; use it in a `with` statement."""

    def __init__(self, template, parent_dir=None):
        self.folder = tempfile.mkdtemp(prefix="tuff-", dir=parent_dir)
        self.log_path = os.path.join(self.folder, "log")
        data = os.path.join(self.folder, "data")
        os.mkdir(data)
        self.port = free_port()
        self.data = data
        self._command = [word.replace("{port}", str(self.port)).replace("{dir}", data) for word in shlex.split(template)]
        self.start_again()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def log(self):
        """The last 4,000 characters that the server has written."""
        with open(self.log_path, errors="replace") as log:
            return log.read()[-4000:]

    def start_again(self):
        """Starts the ended server, in the same folder and on the same port, and returns the seconds until it answered PING."""
        start = time.monotonic()
        try:
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SystemExit(f"{self._command[0]} does not start: {error}")
        try:
            self._wait_for_ping()
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - start

    def kill(self):
        """kill -9; the folder stays."""
        self.process.kill()
        self.process.wait()

    def end(self):
        """Ends the server cleanly and returns the seconds it took; the folder stays."""
        start = time.monotonic()
        self.process.terminate()
        self.process.wait(STOP_TIMEOUT_S)
        return time.monotonic() - start

    def stop(self):
        """Ends the server, by force if it will not end, and removes its folder."""
        if self.is_running():
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_for_ping(self):
        limit = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < limit and self.is_running():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.001)
        raise SystemExit(f"no answer to PING from: {shlex.join(self._command)}\nits log ends:\n{self.log()}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
