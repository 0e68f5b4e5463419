"""The recipes that Redis' documentation gives its users: locks, Redlock over three servers, a token bucket, get-or-set in Lua."""

import os
import secrets
import threading
import time

import redis
from flow import claim, connect, in_threads, key, run, wait_until
from redis.exceptions import LockError, LockNotOwnedError, NoScriptError
from redis.lock import Lock
from serverprocess import ServerProcess

r = connect()

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"
RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end"


# ---- a lock with a token


@claim
def a_lock_is_released_by_its_owner_only():
    name, mine, theirs = key("lock"), secrets.token_hex(16), secrets.token_hex(16)
    release = r.register_script(RELEASE)
    assert r.set(name, mine, nx=True, px=30_000) is True
    assert r.set(name, theirs, nx=True, px=30_000) is None
    assert release(keys=[name], args=[theirs]) == 0
    assert release(keys=[name], args=[mine]) == 1
    assert release(keys=[name], args=[mine]) == 0
    assert r.set(name, theirs, nx=True, px=30_000) is True


@claim
def a_lock_that_ran_out_is_free_and_its_late_owner_cannot_release_the_next_one():
    name, late, next_one = key("lock"), "late", "next"
    assert r.set(name, late, nx=True, px=20)
    wait_until(lambda: r.set(name, next_one, nx=True, px=30_000), "the lock has run out")
    assert r.eval(RELEASE, 1, name, late) == 0
    assert r.eval(RENEW, 1, name, late, 30_000) == 0
    assert r.get(name) == next_one
    assert r.eval(RENEW, 1, name, next_one, 90_000) == 1
    assert 30_000 < r.pttl(name) <= 90_000


@claim
def a_lock_keeps_increments_of_many_workers_apart():
    name, counter = key("lock"), key("counter")
    release = r.register_script(RELEASE)

    def work(worker):
        client = connect()
        for step in range(20):
            token = f"{worker}:{step}"
            wait_until(lambda: client.set(name, token, nx=True, px=30_000), "the lock is free")
            value = int(client.get(counter) or 0)
            client.set(counter, value + 1)
            assert release(keys=[name], args=[token], client=client) == 1

    in_threads(4, work)
    assert r.get(counter) == "80"


# ---- the lock of redis-py


@claim
def the_lock_of_redis_py_locks_and_knows_its_owner():
    name = key("lock")
    lock = r.lock(name, timeout=30)
    assert lock.acquire(blocking=False) and lock.locked() and lock.owned()
    other = Lock(connect(), name, timeout=30)
    assert not other.acquire(blocking=False)
    assert not other.acquire(blocking_timeout=0.01)
    lock.extend(30)
    assert 30_000 < r.pttl(name) <= 60_000
    lock.extend(10, replace_ttl=True)
    assert 0 < r.pttl(name) <= 10_000
    lock.reacquire()
    assert 10_000 < r.pttl(name) <= 30_000
    lock.release()
    assert not r.exists(name)
    refused(LockError, lock.release)
    with other:
        assert other.owned() and not lock.owned()
    assert not r.exists(name)


@claim
def a_lock_taken_over_can_neither_be_released_nor_renewed():
    name = key("lock")
    lock = r.lock(name, timeout=30)
    assert lock.acquire()
    r.set(name, "somebody else's")
    refused(LockNotOwnedError, lock.release)
    assert lock.acquire(blocking=False) is False
    lock.local.token = b"lost"
    refused(LockNotOwnedError, lambda: lock.extend(5))
    refused(LockNotOwnedError, lock.reacquire)


@claim
def a_lock_that_is_renewed_outlives_its_time():
    name = key("lock")
    lock = r.lock(name, timeout=1.5, thread_local=False)
    assert lock.acquire()
    done = threading.Event()

    def renew():
        while not done.wait(0.05):
            lock.reacquire()

    renewer = threading.Thread(target=renew, daemon=True)
    renewer.start()
    began = time.monotonic()
    other = r.lock(name, timeout=1)
    while time.monotonic() < began + 2.2:
        assert not other.acquire(blocking=False)
    done.set()
    renewer.join()
    assert other.acquire(blocking_timeout=10)


def refused(kind, work):
    try:
        work()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


# ---- Redlock


def lock_majority(clients, name, token, ttl_ms):
    """How many servers gave the lock, if it is valid then; otherwise it is released everywhere."""
    began = time.monotonic()
    given = 0
    for client in clients:
        try:
            given += bool(client.set(name, token, nx=True, px=ttl_ms))
        except redis.ConnectionError:
            pass
    drift_ms = ttl_ms * 0.01 + 2
    if given > len(clients) // 2 and (time.monotonic() - began) * 1000 + drift_ms < ttl_ms:
        return given
    unlock_all(clients, name, token)
    return 0


def unlock_all(clients, name, token):
    released = 0
    for client in clients:
        try:
            released += client.eval(RELEASE, 1, name, token)
        except redis.ConnectionError:
            pass
    return released


@claim
def redlock_needs_a_majority_of_three_servers_and_outlives_the_loss_of_one():
    servers = [ServerProcess(f"{os.environ['TUFF_SERVER']} --appendonly yes --appendfsync always") for _ in range(3)]
    try:
        clients = [connect(port=server.port) for server in servers]
        assert lock_majority(clients, "resource", "one", 60_000) == 3
        assert lock_majority(clients, "resource", "two", 60_000) == 0
        assert unlock_all(clients, "resource", "two") == 0
        # One is gone: the lock holds, and can be had by a majority.
        servers[0].kill()
        assert lock_majority(clients, "resource", "two", 60_000) == 0
        assert unlock_all(clients, "resource", "one") == 2
        assert lock_majority(clients, "resource", "two", 60_000) == 2
        # It comes back, remembering the lock that was not released there: nobody gets a majority from it.
        servers[0].start_again()
        assert clients[0].get("resource") == "one"
        assert lock_majority(clients, "resource", "three", 60_000) == 0
        assert [client.get("resource") for client in clients] == ["one", "two", "two"]
        # Two are gone: no lock for anybody.
        servers[1].kill()
        servers[2].kill()
        assert clients[0].delete("resource") == 1
        assert lock_majority(clients, "resource", "four", 60_000) == 0
        assert not clients[0].exists("resource")
    finally:
        for server in servers:
            server.stop()


# ---- a token bucket

BUCKET = """
local capacity, per_second, now_ms, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms')
local tokens, at_ms = tonumber(bucket[1]) or capacity, tonumber(bucket[2]) or now_ms
tokens = math.min(capacity, tokens + math.max(0, now_ms - at_ms) * per_second / 1000)
local is_given = tokens >= wanted
if is_given then tokens = tokens - wanted end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at_ms', now_ms)
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / per_second * 1000))
return {is_given and 1 or 0, tostring(tokens)}
"""


@claim
def a_token_bucket_gives_what_it_has_and_fills_as_time_goes_by():
    take, name, now_ms = r.register_script(BUCKET), key("bucket"), 1_700_000_000_000

    def asked(later_ms, wanted=1):
        return take(keys=[name], args=[10, 2, now_ms + later_ms, wanted])

    assert [asked(0)[0] for _ in range(12)] == [1] * 10 + [0] * 2
    assert asked(400) == [0, "0.8"]
    assert asked(500) == [1, "0"]
    assert asked(3_000, 5) == [1, "0"]
    assert asked(1_000_000, 10) == [1, "0"]
    assert asked(999_000)[0] == 0
    assert 0 < r.pttl(name) <= 5_000


@claim
def many_clients_get_no_more_tokens_than_there_are():
    name, now_ms = key("bucket"), 1_700_000_000_000

    def work(_):
        client = connect()
        take = client.register_script(BUCKET)
        return sum(take(keys=[name], args=[100, 1, now_ms, 1])[0] for _ in range(50))

    assert sum(in_threads(4, work)) == 100


# ---- get or set

GET_OR_SET = """
local value = redis.call('GET', KEYS[1])
if value then return {value, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], 1}
"""


@claim
def get_or_set_gives_everybody_the_value_of_the_first():
    name = key("value")

    def work(worker):
        client = connect()
        return client.register_script(GET_OR_SET)(keys=[name], args=[f"of {worker}", 60_000])

    answers = in_threads(8, work)
    assert sum(was_set for _, was_set in answers) == 1
    assert {value for value, _ in answers} == {r.get(name)}


@claim
def a_registered_script_survives_that_the_server_forgets_it():
    script, name = r.register_script(GET_OR_SET), key("value")
    assert script(keys=[name], args=["a", 60_000]) == ["a", 1]
    assert r.script_exists(script.sha) == [True]
    r.script_flush()
    refused(NoScriptError, lambda: r.evalsha(script.sha, 1, name, "b", 1))
    assert script(keys=[name], args=["b", 60_000]) == ["a", 0]
    with r.pipeline() as pipe:
        r.script_flush()
        script(keys=[name], args=["c", 60_000], client=pipe)
        pipe.ttl(name)
        assert pipe.execute()[0] == ["a", 0]


run()
