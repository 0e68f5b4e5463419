"""redis-py's own client-side cache: what was read is answered from memory until the server says that it has changed."""

import time

from redis.cache import CacheConfig

from flow import WAIT_S, claim, connect, in_threads, key, run

r = connect()


def caching(**options):
    """A client with a cache, on one connection: a message for it is read before its next command."""
    return connect(protocol=3, cache_config=CacheConfig(max_size=1_000), **options)


def soon(expected, read):
    """Waits until `read()` gives what is expected; a message takes its time, but not for ever."""
    limit = time.monotonic() + WAIT_S
    while (found := read()) != expected:
        assert time.monotonic() < limit, f"still {found!r} instead of {expected!r}"


def reads_sent():
    return r.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]


@claim
def what_was_read_is_not_asked_for_again():
    with caching() as cached:
        name = key("cached")
        r.set(name, "one")
        assert cached.get(name) == "one"
        asked = reads_sent()
        assert [cached.get(name) for _ in range(100)] == ["one"] * 100
        assert reads_sent() == asked, "the cache was not used"
        assert cached.get_cache().size >= 1


@claim
def a_change_by_anybody_is_seen():
    with caching() as cached:
        text, hash_, list_ = key("text"), key("hash"), key("list")
        r.set(text, "one")
        r.hset(hash_, "f", "one")
        r.rpush(list_, "a")
        assert (cached.get(text), cached.hget(hash_, "f"), cached.lrange(list_, 0, -1)) == ("one", "one", ["a"])
        r.set(text, "two")
        r.hset(hash_, "f", "two")
        r.rpush(list_, "b")
        soon("two", lambda: cached.get(text))
        soon("two", lambda: cached.hget(hash_, "f"))
        soon(["a", "b"], lambda: cached.lrange(list_, 0, -1))
        r.delete(text)
        soon(None, lambda: cached.get(text))
        r.eval("return redis.call('SET', KEYS[1], 'from a script')", 1, text)
        soon("from a script", lambda: cached.get(text))
        with r.pipeline(transaction=True) as pipe:
            pipe.set(text, "in").append(text, " a transaction").execute()
        soon("in a transaction", lambda: cached.get(text))
        cached.set(text, "its own")
        soon("its own", lambda: cached.get(text))
        r.rename(text, hash_)
        soon(None, lambda: cached.get(text))


@claim
def a_value_that_ends_is_gone_from_the_cache_too():
    with caching() as cached:
        name = key("ends")
        r.set(name, "for a moment", px=100)
        assert cached.get(name) == "for a moment"
        soon(None, lambda: cached.get(name))


@claim
def many_caches_agree_in_the_end():
    name = key("shared")
    r.set(name, 0)
    clients = [caching() for _ in range(4)]

    def read_and_write(number):
        for _ in range(200):
            clients[number].get(name)
            if number == 0:
                r.incr(name)

    in_threads(4, read_and_write)
    for client in clients:
        soon("200", lambda: client.get(name))
        client.close()


@claim
def an_ordinary_connection_can_listen_for_another():
    listener = connect()
    pubsub = listener.pubsub()
    pubsub.subscribe("__redis__:invalidate")
    assert pubsub.get_message(timeout=WAIT_S)["type"] == "subscribe"
    target = next(client["id"] for client in r.client_list() if client["sub"] == "1" and client["cmd"] == "subscribe")
    with connect(single_connection_client=True) as reader:
        name = key("watched")
        assert reader.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", target)
        reader.get(name)
        r.set(name, 1)
        assert pubsub.get_message(timeout=WAIT_S)["data"] == [name]
    listener.close()


run()
