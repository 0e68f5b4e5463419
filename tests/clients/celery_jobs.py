"""Celery: tasks are sent, worked off, retried, delayed; chords come together; what was acknowledged is done when the server is killed.

A task leaves its mark in a file, so that what was done is known without the server. The worker is this script, run with the
words `work PORT`.
"""

import os
import sys
import tempfile
from collections import Counter

from celery import Celery, chord, group
from flow import Worker, claim, own_server, run, wait_until
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

TASKS = 300
# The worker imports its tasks by this name, and so does this process.
sys.modules.setdefault("celery_jobs", sys.modules[__name__])

app = Celery("celery_jobs")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    result_expires=3600,
)


def connect(port):
    app.conf.update(broker_url=f"redis://127.0.0.1:{port}/0", result_backend=f"redis://127.0.0.1:{port}/1")


@app.task(name="celery_jobs.mark")
def mark(path, text):
    """One line in a file, whole."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)
    return text


@app.task(name="celery_jobs.mark_without_result", ignore_result=True)
def mark_without_result(path, text):
    mark(path, text)


@app.task(name="celery_jobs.fail_at_first", bind=True, max_retries=2)
def fail_at_first(self, path, text, failures):
    """Fails so many times, then succeeds."""
    mark(path, text)
    if marks(path)[text] <= failures:
        raise self.retry(exc=RuntimeError("not yet"), countdown=0)
    return "at last"


@app.task(name="celery_jobs.total")
def total(numbers):
    return sum(numbers)


@app.task(name="celery_jobs.double")
def double(number):
    return 2 * number


def marks(path):
    """How often each text is in the file."""
    if not os.path.exists(path):
        return Counter()
    with open(path) as file:
        return Counter(file.read().split())


def new_path():
    return os.path.join(tempfile.mkdtemp(prefix="tuff-celery-"), "marks")



@claim
def tasks_are_worked_off_retried_delayed_and_brought_together():
    with own_server() as server:
        connect(server.port)
        path = new_path()
        with Worker("celery_jobs.py", "work", str(server.port)):
            results = [mark.delay(path, str(number)) for number in range(50)]
            assert [result.get(timeout=30) for result in results] == [str(number) for number in range(50)]
            assert fail_at_first.delay(path, "good", 2).get(timeout=30) == "at last"
            try:
                fail_at_first.delay(path, "bad", 9).get(timeout=30)
                raise AssertionError("it succeeded")
            except RuntimeError as error:
                assert str(error) == "not yet"
            assert mark.apply_async((path, "soon"), countdown=1).get(timeout=30) == "soon"
            late = mark.apply_async((path, "late"), countdown=3600)
            assert group(double.s(number) for number in range(10)).delay().get(timeout=30) == [2 * n for n in range(10)]
            assert chord((double.s(number) for number in range(10)), total.s()).delay().get(timeout=30) == 90
            assert (double.s(3) | double.s() | double.s()).delay().get(timeout=30) == 24
            assert not late.ready()
        assert {count for text, count in marks(path).items() if text not in ("good", "bad")} == {1}
        assert (marks(path)["good"], marks(path)["bad"]) == (3, 3)


def send_some(server, path, acknowledged):
    """Sends tasks and kills the server in the middle. What was not acknowledged may be there or not."""
    # An application of its own: it keeps its connections.
    sender = Celery(broker=f"redis://127.0.0.1:{server.port}/0")
    for number in range(TASKS):
        if number in (TASKS // 3, 2 * TASKS // 3):
            wait_until(lambda: len(marks(path)) > number // 4, "the worker is at work")
            server.kill()
            server.start_again()
        try:
            sender.send_task("celery_jobs.mark_without_result", (path, str(number)), retry=False)
            acknowledged.add(str(number))
        except (OperationalError, RedisError):
            pass
    return sender


@claim
def kill_9_loses_no_task_but_those_on_their_way_to_the_worker():
    with own_server() as server:
        path, acknowledged = new_path(), set()
        with Worker("celery_jobs.py", "work", str(server.port)):
            sender = send_some(server, path, acknowledged)
            # A message that was popped and not yet noted as unacknowledged when the server was killed is gone, as Celery says.
            wait_until(lambda: len(acknowledged - set(marks(path))) <= 2, "the tasks are done")
            last = sender.send_task("celery_jobs.mark_without_result", (path, "last"))
            wait_until(lambda: marks(path)["last"] == 1, f"the last one, {last.id}, is done")
        assert len(acknowledged) >= TASKS - 6
        done = marks(path)
        # Not acknowledged by the worker when the server was killed: done again, once for each kill at most.
        again = {text: count for text, count in done.items() if count > 1}
        assert len(again) <= 2 and all(count == 2 for count in again.values()), again


def work(port):
    connect(port)
    app.worker_main(["worker", "--pool", "solo", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(int(sys.argv[2]))
    else:
        run()
