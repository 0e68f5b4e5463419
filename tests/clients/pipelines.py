"""Pipelines over both protocol versions: replies come in order, are of the right type, and an error harms only itself."""

import redis

from flow import claim, connect, in_threads, key, run

r = connect()


def connections():
    return [(protocol, connect(protocol=protocol)) for protocol in (2, 3)]


@claim
def ten_thousand_commands_are_answered_in_order():
    for protocol, client in connections():
        prefix = key(f"order{protocol}")
        with client.pipeline(transaction=False) as pipe:
            for number in range(5_000):
                pipe.set(f"{prefix}:{number}", number)
                pipe.get(f"{prefix}:{number - 1}")
            replies = pipe.execute()
        assert replies[0::2] == [True] * 5_000
        assert replies[1::2] == [None] + [str(number) for number in range(4_999)]


@claim
def an_error_in_the_middle_harms_only_itself():
    for protocol, client in connections():
        text = key(f"text{protocol}")
        with client.pipeline(transaction=False) as pipe:
            pipe.set(text, "abc").incr(text).lpush(text, 1).execute_command("NOSUCHCOMMAND", "a").append(text, "d")
            replies = pipe.get(text).execute(raise_on_error=False)
        assert replies[0] is True
        assert str(replies[1]) == "value is not an integer or out of range"
        assert "Operation against a key holding the wrong kind of value" in str(replies[2])
        assert str(replies[3]).startswith("unknown command 'NOSUCHCOMMAND'")
        assert replies[4:] == [4, "abcd"]


@claim
def many_clients_pipeline_at_once():
    counter = key("counter")

    def count(number):
        client = connect(protocol=2 + number % 2)
        for _ in range(20):
            with client.pipeline(transaction=False) as pipe:
                for _ in range(100):
                    pipe.incr(counter)
                replies = pipe.execute()
            assert replies == sorted(replies)

    in_threads(8, count)
    assert r.get(counter) == "16000"


@claim
def hello_names_the_protocol():
    for protocol, client in connections():
        hello = client.execute_command("HELLO")
        if protocol == 2:
            hello = dict(zip(hello[0::2], hello[1::2]))
        assert hello["proto"] == protocol
        assert hello["server"] == "redis"
        assert hello["mode"] == "standalone"
        assert hello["role"] == "master"


@claim
def a_hash_is_a_flat_array_in_resp2_and_a_map_in_resp3():
    name = key("hash")
    r.hset(name, mapping={"a": "1", "b": "2"})
    for protocol, client in connections():
        assert client.hgetall(name) == {"a": "1", "b": "2"}
        client.response_callbacks.pop("HGETALL")
        assert client.hgetall(name) == (["a", "1", "b", "2"] if protocol == 2 else {"a": "1", "b": "2"})


@claim
def what_is_absent_is_none_in_both_protocols():
    absent = key("absent")
    for _, client in connections():
        assert client.get(absent) is None
        assert client.hget(absent, "field") is None
        assert client.lpop(absent) is None
        assert client.hgetall(absent) == {}
        assert client.lrange(absent, 0, -1) == []
        assert client.mget(absent, absent) == [None, None]


@claim
def the_name_of_a_client_and_of_its_library_are_kept():
    for protocol, _ in connections():
        client = connect(protocol=protocol, client_name=f"flow-{protocol}")
        assert client.client_getname() == f"flow-{protocol}"
        mine = client.client_info()
        assert mine["name"] == f"flow-{protocol}" and str(mine["resp"]) == str(protocol)
        assert mine["lib-name"].startswith("redis-py")


@claim
def databases_are_apart():
    name = key("databases")
    r.set(name, "zero")
    one = connect(db=1)
    assert one.get(name) is None
    one.set(name, "one")
    assert (r.get(name), one.get(name)) == ("zero", "one")


@claim
def bytes_of_every_kind_pass_unchanged():
    client = connect(decode_responses=False)
    everything = bytes(range(256)) * 4
    for name in (key("bytes").encode() + b"\r\n\x00\xff", key("bytes").encode() + everything):
        client.set(name, everything)
        client.hset(name + b"h", everything, everything)
        assert client.get(name) == everything
        assert client.hgetall(name + b"h") == {everything: everything}
        assert client.delete(name, name + b"h") == 2


@claim
def an_unknown_command_leaves_the_connection_usable():
    client = connect(single_connection_client=True)
    identity = client.client_id()
    try:
        client.execute_command("NOSUCHCOMMAND")
        raise AssertionError("an unknown command was accepted")
    except redis.ResponseError:
        pass
    assert client.ping() is True
    assert client.client_id() == identity


run()
