"""A rate limit with a sliding window: each request is a member with its time as score; old ones are cut off, the rest is counted."""

from concurrent.futures import ThreadPoolExecutor

from flow import claim, connect, key, run

r = connect()
WINDOW_MS = 10_000


def hit(client, name, now_ms, number):
    """How many requests there were in the window before this one."""
    with client.pipeline(transaction=True) as pipe:
        pipe.zremrangebyscore(name, "-inf", now_ms - WINDOW_MS)
        pipe.zcard(name)
        pipe.zadd(name, {f"{now_ms}:{number}": now_ms})
        pipe.pexpire(name, WINDOW_MS)
        return pipe.execute()[1]


@claim
def requests_leave_the_window_as_time_goes_by():
    name = key("limit")
    for step in range(300):
        now_ms = 1_700_000_000_000 + step * 500
        # 20 steps of 500 ms are the window; the oldest of them is just out.
        assert hit(r, name, now_ms, step) == min(step, 19)
    assert 0 < r.pttl(name) <= WINDOW_MS
    assert r.zcard(name) == 20


@claim
def bursts_at_one_moment_are_all_counted():
    name, now_ms = key("burst"), 1_700_000_000_000
    assert [hit(r, name, now_ms, number) for number in range(50)] == list(range(50))
    assert hit(r, name, now_ms + WINDOW_MS, 50) == 0


@claim
def many_clients_see_one_count():
    name, now_ms = key("shared"), 1_700_000_000_000

    def work(worker):
        client = connect()
        return [hit(client, name, now_ms, f"{worker}:{number}") for number in range(50)]

    with ThreadPoolExecutor(4) as pool:
        seen = [count for part in pool.map(work, range(4)) for count in part]
    assert sorted(seen) == list(range(200))


@claim
def the_window_slides_over_many_requests():
    name = key("long")
    for second in range(40):
        now_ms = 1_700_000_000_000 + second * 1_000
        with r.pipeline(transaction=False) as pipe:
            pipe.zremrangebyscore(name, 0, now_ms - WINDOW_MS)
            for number in range(50):
                pipe.zadd(name, {f"{second}:{number}": now_ms})
            pipe.zcard(name)
            assert pipe.execute()[-1] == 50 * min(second + 1, 10)
    assert r.zcount(name, f"({now_ms - 1_000}", "+inf") == 50
    assert r.zrange(name, 0, 0, withscores=True) == [("30:0", float(now_ms - 9_000))]


run()
