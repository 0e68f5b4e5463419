"""RQ: jobs are enqueued, worked off, retried, delayed and scheduled; none is lost and none is done twice when the server is killed.

A job leaves its mark in a file, so that what was done is known without the server. The worker is this script, run with the
words `work PORT`.
"""

import os
import sys
import tempfile
from collections import Counter
from datetime import datetime, timedelta, timezone

import redis
from flow import Worker, claim, own_server, run, wait_until
from rq import Queue, Repeat, Retry, SimpleWorker
from rq import Worker as ForkingWorker
from rq.cron import CronScheduler
from rq.job import Job, JobStatus
from rq.results import Result
from rq.scheduler import RQScheduler

JOBS = 300
# A worker imports its jobs by this name, also in this process.
sys.modules.setdefault("rq_jobs", sys.modules[__name__])


def mark(path, text):
    """One line in a file, whole."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)
    return text


def fail_at_first(path, text, failures):
    """Fails so many times, then succeeds."""
    mark(path, text)
    if marks(path)[text] <= failures:
        raise RuntimeError("not yet")
    return "at last"


def marks(path):
    """How often each text is in the file."""
    if not os.path.exists(path):
        return Counter()
    with open(path) as file:
        return Counter(file.read().split())


def new_path():
    return os.path.join(tempfile.mkdtemp(prefix="tuff-rq-"), "marks")


def connect(port):
    return redis.Redis(port=port, socket_timeout=60)


@claim
def jobs_are_worked_off_in_order_and_leave_their_results():
    with own_server() as server:
        queue, path = Queue(connection=connect(server.port)), new_path()
        jobs = [queue.enqueue("rq_jobs.mark", path, str(number)) for number in range(100)]
        jobs += queue.enqueue_many([Queue.prepare_data("rq_jobs.mark", (path, f"many-{number}")) for number in range(20)])
        last = queue.enqueue("rq_jobs.mark", path, "last", depends_on=jobs[-1])
        assert last.get_status() == JobStatus.DEFERRED and len(queue) == 120
        SimpleWorker([queue]).work(burst=True, logging_level="ERROR")
        assert all(count == 1 for count in marks(path).values()) and len(marks(path)) == 121
        with open(path) as file:
            assert file.read().split()[:100] == [str(number) for number in range(100)]
        assert [job.return_value() for job in jobs[:3]] == ["0", "1", "2"]
        assert last.get_status(refresh=True) == JobStatus.FINISHED
        assert (len(queue), queue.finished_job_registry.count, queue.failed_job_registry.count) == (0, 121, 0)


@claim
def a_job_is_retried_as_often_as_it_may_be():
    with own_server() as server:
        queue, path = Queue(connection=connect(server.port)), new_path()
        good = queue.enqueue("rq_jobs.fail_at_first", path, "good", 2, retry=Retry(max=2))
        bad = queue.enqueue("rq_jobs.fail_at_first", path, "bad", 9, retry=Retry(max=2))
        # Each job in a process of its own, as is RQ's way.
        ForkingWorker([queue]).work(burst=True, logging_level="CRITICAL")
        assert marks(path) == {"good": 3, "bad": 3}
        assert good.get_status(refresh=True) == JobStatus.FINISHED and good.return_value() == "at last"
        assert bad.get_status(refresh=True) == JobStatus.FAILED
        assert queue.failed_job_registry.get_job_ids() == [bad.id]
        assert queue.failed_job_registry.requeue(bad.id).get_status() == JobStatus.QUEUED


@claim
def delayed_and_scheduled_jobs_come_when_their_time_has_come():
    with own_server() as server:
        queue, path = Queue(connection=connect(server.port)), new_path()
        queue.enqueue_in(timedelta(seconds=1), "rq_jobs.mark", path, "soon")
        queue.enqueue_at(datetime.now(timezone.utc) + timedelta(seconds=1), "rq_jobs.mark", path, "then")
        late = queue.enqueue_in(timedelta(hours=1), "rq_jobs.mark", path, "late")
        retried = queue.enqueue("rq_jobs.fail_at_first", path, "retried", 1, retry=Retry(max=1, interval=1))
        assert queue.scheduled_job_registry.count == 3
        with Worker("rq_jobs.py", "work", str(server.port)):
            wait_until(lambda: len(marks(path)) == 3 and marks(path)["retried"] == 2, "all of them are done")
            wait_until(lambda: retried.get_status(refresh=True) == JobStatus.FINISHED, "the retried one is")
        assert marks(path) == {"soon": 1, "then": 1, "retried": 2}
        assert queue.scheduled_job_registry.get_job_ids() == [late.id]


@claim
def a_repeated_job_comes_as_often_as_it_should_and_keeps_each_result():
    with own_server() as server:
        queue, path = Queue(connection=connect(server.port)), new_path()
        at_once = queue.enqueue("rq_jobs.mark", path, "at-once", repeat=Repeat(times=3))
        later = queue.enqueue("rq_jobs.mark", path, "later", repeat=Repeat(times=2, interval=1))
        with Worker("rq_jobs.py", "work", str(server.port)):
            wait_until(lambda: marks(path) == {"at-once": 4, "later": 3}, "all have come")
            wait_until(lambda: Result.count(later) == 3, "the last result is kept")
        results = at_once.results()
        assert [result.return_value for result in results] == ["at-once"] * 4
        assert [result.id for result in results] == sorted((result.id for result in results), key=stream_order, reverse=True)
        assert at_once.latest_result() == results[0]
        gaps = [later_one.created_at - one.created_at for later_one, one in zip(later.results(), later.results()[1:])]
        assert all(gap > timedelta(seconds=0.9) for gap in gaps), gaps
        Result.delete_all(at_once)
        assert at_once.results() == [] and at_once.latest_result() is None


def stream_order(result_id):
    return [int(part) for part in result_id.split("-")]


@claim
def who_waits_for_a_result_gets_it_when_it_is_there():
    with own_server() as server:
        queue, path = Queue(connection=connect(server.port)), new_path()
        job = queue.enqueue("rq_jobs.fail_at_first", path, "waited-for", 1, retry=Retry(max=1, interval=1))
        with Worker("rq_jobs.py", "work", str(server.port)):
            # A run that is to be tried again keeps no result.
            first = job.latest_result(timeout=20)
            assert (first.type, first.return_value) == (Result.Type.SUCCESSFUL, "at last")
        assert queue.enqueue("rq_jobs.mark", path, "nobody-works").latest_result(timeout=1) is None


@claim
def a_cron_job_is_enqueued_at_its_interval():
    with own_server() as server:
        connection, path = connect(server.port), new_path()
        queue, scheduler = Queue("cron", connection=connection), CronScheduler(connection=connection)
        mark.__module__ = "rq_jobs"
        scheduler.register(mark, queue_name="cron", args=(path, "each-second"), interval=1)
        scheduler.register(mark, queue_name="cron", args=(path, "each-year"), cron="0 0 1 1 *")
        wait_until(lambda: scheduler.enqueue_jobs() is not None and len(queue) == 2, "it has come twice")
        SimpleWorker([queue]).work(burst=True, logging_level="ERROR")
        assert marks(path) == {"each-second": 2}


def enqueue_some(server, queue, path, acknowledged):
    """Enqueues jobs and kills the server in the middle. What was not acknowledged may be there or not."""
    for number in range(JOBS):
        if number in (JOBS // 3, 2 * JOBS // 3):
            wait_until(lambda: len(marks(path)) > number // 4, "the worker is at work")
            server.kill()
            server.start_again()
        try:
            queue.enqueue("rq_jobs.mark", path, str(number), job_id=f"job-{number}", result_ttl=0)
            acknowledged.add(str(number))
        except redis.ConnectionError:
            pass


@claim
def kill_9_loses_no_job_and_does_none_twice():
    with own_server() as server:
        path, acknowledged = new_path(), set()
        connection = connect(server.port)
        queue = Queue(connection=connection)
        with Worker("rq_jobs.py", "work", str(server.port)):
            enqueue_some(server, queue, path, acknowledged)
            wait_until(lambda: len(queue) == 0, "the queue is empty")
            wait_until(lambda: acknowledged <= set(marks(path)) | in_limbo(queue), "each job is done or known to be stuck")
            # The last one is still being brought to its end.
            wait_until(lambda: len(in_limbo(queue)) <= 2, "no more than one job was stuck at each kill")
        assert len(acknowledged) >= JOBS - 4
        # A job that was taken when the server was killed is kept aside; RQ calls it failed after a minute, and it can be had again.
        limbo = in_limbo(queue)
        done = marks(path)
        assert all(count == 1 for count in done.values()), done
        assert acknowledged - set(done) <= limbo, (acknowledged - set(done), limbo)
        for number in limbo:
            queue.enqueue_job(Job.fetch(f"job-{number}", connection=connection))
        SimpleWorker([queue]).work(burst=True, logging_level="CRITICAL")
        assert acknowledged <= set(marks(path))


def in_limbo(queue):
    """The numbers of jobs that were taken and not finished."""
    ids = {*queue.intermediate_queue.get_job_ids(), *queue.started_job_registry.get_job_ids(cleanup=False)}
    return {job_id.removeprefix("job-") for job_id in ids}


def work(port):
    queue = Queue(connection=connect(port))
    RQScheduler.interval = 1
    SimpleWorker([queue]).work(with_scheduler=True, logging_level="WARNING")


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(int(sys.argv[2]))
    else:
        run()
