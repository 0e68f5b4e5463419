"""Web sessions with sliding expiry: once as one string per session, once as a hash with a field per attribute."""

import json

from flow import claim, connect, in_threads, key, run, wait_until

r = connect()
SHORT_MS, LONG_MS = 30_000, 600_000


@claim
def a_string_session_slides_with_getex():
    name = key("session")
    r.set(name, json.dumps({"user": 7, "cart": [1, 2]}), px=SHORT_MS)
    assert r.pttl(name) <= SHORT_MS
    assert json.loads(r.getex(name, px=LONG_MS)) == {"user": 7, "cart": [1, 2]}
    assert SHORT_MS < r.pttl(name) <= LONG_MS


@claim
def a_hash_session_slides_with_expire_and_keeps_its_fields():
    name = key("session")
    r.hset(name, mapping={"user": "7", "visits": 0, "language": "en"})
    r.pexpire(name, SHORT_MS)
    for visit in range(1, 6):
        with r.pipeline() as pipe:
            visits, slid = pipe.hincrby(name, "visits", 1).pexpire(name, LONG_MS).execute()
        assert (visits, slid) == (visit, True)
    assert SHORT_MS < r.pttl(name) <= LONG_MS
    assert r.hgetall(name) == {"user": "7", "visits": "5", "language": "en"}


@claim
def a_change_of_a_field_leaves_the_expiry_alone():
    name = key("session")
    r.hset(name, "user", "7")
    r.pexpire(name, SHORT_MS)
    r.hset(name, mapping={"user": "8", "theme": "dark"})
    r.hdel(name, "theme")
    assert 0 < r.pttl(name) <= SHORT_MS
    assert r.hget(name, "user") == "8"


@claim
def sessions_end_by_themselves():
    text, attributes = key("text"), key("attributes")
    r.set(text, "x", px=30)
    r.hset(attributes, mapping={"user": "7", "theme": "dark"})
    r.pexpire(attributes, 30)
    wait_until(lambda: r.exists(text, attributes) == 0, "both sessions have expired")
    assert r.get(text) is None
    assert r.hgetall(attributes) == {}
    assert r.hset(attributes, "user", "9") == 1, "a new session begins with none of the old one's fields"
    assert r.hgetall(attributes) == {"user": "9"}
    assert r.ttl(attributes) == -1


@claim
def an_expiry_in_the_past_ends_a_session_at_once():
    name = key("session")
    r.hset(name, "user", "7")
    assert r.pexpireat(name, 1_000) == 1
    assert r.exists(name) == 0


@claim
def logging_out_deletes_and_logging_out_twice_does_no_harm():
    name = key("session")
    r.hset(name, "user", "7")
    assert r.delete(name) == 1
    assert r.delete(name) == 0
    assert r.expire(name, 60) is False


@claim
def a_session_used_by_many_requests_at_once_loses_no_update():
    name = key("session")
    r.hset(name, "visits", 0)

    def visit(number):
        client = connect()
        for _ in range(200):
            client.hincrby(name, "visits", 1)
            client.hset(name, f"request {number}", "seen")
            client.expire(name, 60)

    in_threads(8, visit)
    assert r.hget(name, "visits") == "1600"
    assert r.hlen(name) == 9


@claim
def five_thousand_sessions_stay_apart():
    prefix = key("crowd")
    with r.pipeline(transaction=False) as pipe:
        for number in range(5_000):
            pipe.hset(f"{prefix}:{number}", mapping={"user": number, "token": f"t{number}"})
            pipe.expire(f"{prefix}:{number}", 600 + number)
        pipe.execute()
        for number in range(5_000):
            pipe.hgetall(f"{prefix}:{number}").ttl(f"{prefix}:{number}")
        replies = pipe.execute()
    for number in range(5_000):
        assert replies[2 * number] == {"user": str(number), "token": f"t{number}"}
        assert 0 < replies[2 * number + 1] <= 600 + number


run()
