"""A job queue on lists: producers push, workers wait with BLPOP; no job is lost or done twice, the first in is first out."""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from flow import WAIT_S, claim, connect, in_threads, key, needs, run, wait_until

r = connect()
END = "end"


def blocked_clients():
    return r.info("clients")["blocked_clients"]


def work_off(queue_name):
    """What one worker took from the queue, in its order, until it was told to end."""
    client, taken = connect(), []
    while True:
        name, job = client.blpop([queue_name], timeout=WAIT_S)
        assert name == queue_name
        if job == END:
            return taken
        taken.append(job)


@claim
def every_job_is_done_exactly_once_by_some_worker():
    name, workers, producers, jobs = key("jobs"), 6, 3, 1_000

    def produce(number):
        client = connect()
        for job in range(jobs):
            client.rpush(name, f"{number}:{job}")

    with ThreadPoolExecutor(workers) as pool:
        working = [pool.submit(work_off, name) for _ in range(workers)]
        in_threads(producers, produce)
        r.rpush(name, *[END] * workers)
        taken = [worker.result() for worker in working]

    assert sorted(job for part in taken for job in part) == sorted(
        f"{number}:{job}" for number in range(producers) for job in range(jobs)
    )
    for part in taken:
        for number in range(producers):
            mine = [int(job.split(":")[1]) for job in part if job.startswith(f"{number}:")]
            assert mine == sorted(mine), "a worker sees one producer's jobs in their order"
    assert r.exists(name) == 0


@claim
def one_worker_sees_all_jobs_in_their_order():
    name = key("fifo")
    with r.pipeline(transaction=False) as pipe:
        for job in range(5_000):
            pipe.rpush(name, job)
        pipe.rpush(name, END).execute()
    assert work_off(name) == [str(job) for job in range(5_000)]


@claim
def workers_that_wait_are_served_in_the_order_they_came():
    name, arrivals = key("turns"), queue.Queue()

    def wait_for_a_job(number):
        arrivals.put((number, connect().blpop([name], timeout=WAIT_S)[1]))

    already = blocked_clients()
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait_for_a_job, args=(number,), daemon=True))
        threads[-1].start()
        wait_until(lambda: blocked_clients() == already + number + 1, "the worker waits")
    for number in range(5):
        r.rpush(name, f"job {number}")
        assert arrivals.get(timeout=WAIT_S) == (number, f"job {number}")
    assert blocked_clients() == already


@claim
def one_push_of_many_jobs_serves_many_workers():
    name = key("burst")
    already = blocked_clients()

    def take_part(number):
        if number < 4:
            return connect().blpop([name], timeout=WAIT_S)[1]
        wait_until(lambda: blocked_clients() == already + 4, "all workers wait")
        r.rpush(name, "a", "b", "c", "d", "e")
        return None

    assert sorted(in_threads(5, take_part)[:4]) == ["a", "b", "c", "d"]
    assert r.lrange(name, 0, -1) == ["e"]


@claim
def a_worker_of_many_queues_takes_the_first_that_has_a_job():
    urgent, normal = key("urgent"), key("normal")
    r.rpush(normal, "n1", "n2")
    r.rpush(urgent, "u1")
    client = connect()
    assert [client.blpop([urgent, normal], timeout=WAIT_S) for _ in range(3)] == [
        (urgent, "u1"),
        (normal, "n1"),
        (normal, "n2"),
    ]


@claim
def an_empty_queue_answers_none_after_the_timeout_and_not_before():
    began = time.monotonic()
    assert connect().blpop([key("empty")], timeout=0.1) is None
    assert time.monotonic() - began >= 0.1


@claim
def a_worker_that_has_gone_away_takes_no_job():
    name = key("gone")
    already = blocked_clients()
    connection = connect().connection_pool.get_connection()
    connection.send_command("BLPOP", name, 0)
    wait_until(lambda: blocked_clients() == already + 1, "the worker waits")
    connection.disconnect()
    wait_until(lambda: blocked_clients() == already, "the server has seen the worker go")
    r.rpush(name, "job")
    assert r.lrange(name, 0, -1) == ["job"]


@claim
def jobs_pushed_in_a_transaction_wake_a_worker_once_it_is_whole():
    name = key("whole")
    already = blocked_clients()

    def take_part(number):
        if number == 0:
            return connect().blpop([name], timeout=WAIT_S)[1]
        wait_until(lambda: blocked_clients() == already + 1, "the worker waits")
        with r.pipeline(transaction=True) as pipe:
            return pipe.rpush(name, "first").rpush(name, "second").lpush(name, "zeroth").execute()

    assert in_threads(2, take_part) == ["zeroth", [1, 2, 3]]
    assert r.lrange(name, 0, -1) == ["first", "second"]


@claim
@needs("blmove", "lmove", "lrem")
def a_job_in_work_is_kept_in_a_second_list_until_it_is_done():
    waiting, working = key("waiting"), key("working")
    r.rpush(waiting, "a", "b")
    assert r.blmove(waiting, working, WAIT_S, "LEFT", "RIGHT") == "a"
    assert r.lrange(working, 0, -1) == ["a"]
    assert r.lrem(working, 1, "a") == 1
    assert r.lmove(waiting, working, "LEFT", "RIGHT") == "b"
    assert r.exists(waiting) == 0
    assert r.lrange(working, 0, -1) == ["b"]


run()
