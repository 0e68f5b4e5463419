"""Cache-aside: look in the cache, on a miss load from the slow source and store it with a time to live."""

import json
import threading

from flow import claim, connect, in_threads, key, run, wait_until

r = connect()


class Source:
    """The slow database behind the cache: it counts how often it is asked."""

    def __init__(self):
        self.rows = {number: {"id": number, "name": f"user {number}"} for number in range(100)}
        self.loads = 0
        self.lock = threading.Lock()

    def load(self, number):
        with self.lock:
            self.loads += 1
            return dict(self.rows[number])


def fetch(source, prefix, number, ttl_ms=60_000):
    cached = r.get(f"{prefix}:{number}")
    if cached is not None:
        return json.loads(cached)
    row = source.load(number)
    r.set(f"{prefix}:{number}", json.dumps(row), px=ttl_ms)
    return row


@claim
def the_source_is_asked_once_per_row():
    source, prefix = Source(), key("cache")
    for _ in range(3):
        for number in range(100):
            assert fetch(source, prefix, number) == source.rows[number]
    assert source.loads == 100


@claim
def an_entry_carries_its_time_to_live():
    source, prefix = Source(), key("ttl")
    fetch(source, prefix, 1, ttl_ms=60_000)
    assert 0 < r.pttl(f"{prefix}:1") <= 60_000
    assert 0 < r.ttl(f"{prefix}:1") <= 60
    r.persist(f"{prefix}:1")
    assert r.ttl(f"{prefix}:1") == -1
    assert r.ttl(f"{prefix}:absent") == -2


@claim
def an_expired_entry_is_gone_and_loaded_again():
    source, prefix = Source(), key("expired")
    fetch(source, prefix, 1, ttl_ms=30)
    source.rows[1]["name"] = "another name"
    wait_until(lambda: r.get(f"{prefix}:1") is None, "the entry has expired")
    assert r.exists(f"{prefix}:1") == 0
    assert fetch(source, prefix, 1)["name"] == "another name"
    assert source.loads == 2


@claim
def a_deleted_entry_is_loaded_again():
    source, prefix = Source(), key("invalidated")
    fetch(source, prefix, 1)
    source.rows[1]["name"] = "another name"
    assert r.delete(f"{prefix}:1", f"{prefix}:absent") == 1
    assert fetch(source, prefix, 1)["name"] == "another name"


@claim
def an_overwrite_drops_the_time_to_live_unless_told_to_keep_it():
    name = key("overwrite")
    r.set(name, "a", ex=60)
    r.set(name, "b", keepttl=True)
    assert 0 < r.ttl(name) <= 60
    r.set(name, "c")
    assert r.ttl(name) == -1
    assert r.get(name) == "c"


@claim
def many_rows_are_read_with_one_mget():
    prefix = key("mget")
    r.mset({f"{prefix}:{number}": number for number in range(0, 200, 2)})
    values = r.mget([f"{prefix}:{number}" for number in range(200)])
    assert values == [str(number) if number % 2 == 0 else None for number in range(200)]


@claim
def of_many_clients_that_miss_at_once_one_takes_the_lock_and_loads():
    source, entry, lock = Source(), key("stampede"), key("stampede-lock")

    def read(number):
        client = connect()
        while (cached := client.get(entry)) is None:
            if client.set(lock, number, nx=True, px=60_000):
                client.set(entry, json.dumps(source.load(7)), ex=60)
            else:
                wait_until(lambda: client.exists(entry) == 1, "the winner has stored the row")
        return json.loads(cached)

    assert in_threads(8, read) == [source.rows[7]] * 8
    assert source.loads == 1


run()
