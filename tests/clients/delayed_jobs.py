"""Delayed jobs on a sorted set: the score is when a job is due; workers take what is due, each job once, the earliest first."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import redis

from flow import WAIT_S, claim, connect, in_threads, key, run, wait_until

r = connect()


def take_due(client, name, now):
    """Takes the earliest job that is due, or none; another worker may be quicker."""
    while True:
        due = client.zrange(name, "-inf", now, byscore=True, offset=0, num=1)
        if not due:
            return None
        if client.zrem(name, due[0]) == 1:
            return due[0]


@claim
def only_what_is_due_is_taken_and_the_earliest_first():
    name = key("delayed")
    r.zadd(name, {"late": 300, "early": 100, "middle": 200})
    assert take_due(r, name, 50) is None
    assert [take_due(r, name, 250) for _ in range(3)] == ["early", "middle", None]
    assert r.zrange(name, 0, -1, withscores=True) == [("late", 300.0)]


@claim
def workers_take_each_job_once():
    name, jobs = key("once"), 400
    r.zadd(name, {f"job:{number}": number % 7 for number in range(jobs)})

    def work(_):
        client, taken = connect(), []
        while job := take_due(client, name, 100):
            taken.append(job)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job for part in pool.map(work, range(4)) for job in part]
    assert len(taken) == jobs and len(set(taken)) == jobs
    assert r.exists(name) == 0


@claim
def due_jobs_move_to_a_ready_queue_in_one_transaction():
    waiting, ready = key("waiting"), key("ready")
    r.zadd(waiting, {f"job:{number}": number for number in range(10)})

    def move(now):
        with connect().pipeline() as pipe:
            while True:
                try:
                    pipe.watch(waiting)
                    due = pipe.zrangebyscore(waiting, "-inf", now)
                    pipe.multi()
                    if due:
                        pipe.zrem(waiting, *due)
                        pipe.rpush(ready, *due)
                    return pipe.execute()
                except redis.WatchError:
                    continue

    in_threads(3, lambda _: move(4))
    assert r.lrange(ready, 0, -1) == [f"job:{number}" for number in range(5)]
    assert r.zcard(waiting) == 5


@claim
def a_worker_waits_for_the_next_job_by_priority():
    name = key("priority")
    already = r.info("clients")["blocked_clients"]
    arrivals = []

    def work():
        client = connect()
        for _ in range(3):
            arrivals.append(client.bzpopmin(name, timeout=WAIT_S)[1:])

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    wait_until(lambda: r.info("clients")["blocked_clients"] == already + 1, "the worker waits")
    r.zadd(name, {"low": 9, "high": 1, "middle": 5})
    worker.join(WAIT_S)
    assert arrivals == [("high", 1.0), ("middle", 5.0), ("low", 9.0)]


@claim
def a_worker_takes_several_at_once_from_the_first_queue_that_has_any():
    urgent, normal = key("urgent"), key("normal")
    r.zadd(normal, {"a": 1, "b": 2, "c": 3})
    assert r.zmpop(2, [urgent, normal], min=True, count=2) == [normal, [["a", "1"], ["b", "2"]]]
    assert r.bzmpop(WAIT_S, 2, [urgent, normal], max=True, count=5) == [normal, [["c", "3"]]]
    began = time.monotonic()
    assert r.bzmpop(0.1, 2, [urgent, normal], min=True) is None
    assert time.monotonic() - began >= 0.1


@claim
def a_long_queue_comes_out_in_order_while_it_goes_in():
    name, jobs, ahead = key("stream"), 20_000, 500
    taken = []
    for start in range(0, jobs, 100):
        with r.pipeline(transaction=False) as pipe:
            for number in range(start, start + 100):
                pipe.zadd(name, {f"job:{number:06d}": number})
            pipe.zpopmin(name, 100 if start >= ahead else 0)
            taken += [member for member, _ in pipe.execute()[-1]]
    taken += [member for member, _ in r.zpopmin(name, jobs)]
    assert taken == [f"job:{number:06d}" for number in range(jobs)]
    assert r.exists(name) == 0


run()
