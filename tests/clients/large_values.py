"""Large strings and large hashes: what goes in comes out, and parts of it can be read and changed."""

import random

import redis

from flow import claim, connect, in_threads, key, run

r = connect(decode_responses=False)
MIB = 1 << 20


def some_bytes(count, seed=1):
    return random.Random(seed).randbytes(count)


@claim
def strings_of_every_size_come_back_as_they_were():
    for size in (0, 1, 1_000, 4_096, 65_535, 65_537, MIB, 8 * MIB + 3, 32 * MIB):
        name, value = key(f"size-{size}"), some_bytes(size, size)
        assert r.set(name, value) is True
        assert r.strlen(name) == size
        assert r.get(name) == value, f"a value of {size} bytes has changed"
        r.delete(name)


@claim
def parts_of_a_large_string_are_read_and_changed():
    name, model = key("parts"), bytearray(some_bytes(3 * MIB))
    r.set(name, bytes(model))
    chance = random.Random(5)
    for _ in range(50):
        start, patch = chance.randrange(len(model)), chance.randbytes(chance.choice([1, 100, 70_000]))
        if start + len(patch) > len(model):
            model.extend(bytes(start + len(patch) - len(model)))
        model[start : start + len(patch)] = patch
        assert r.setrange(name, start, patch) == len(model)
        start = chance.randrange(len(model))
        end = start + chance.choice([0, 99, 200_000])
        assert r.getrange(name, start, end) == bytes(model[start : end + 1])
    assert r.append(name, b"the end") == len(model) + 7
    assert r.getrange(name, -7, -1) == b"the end"
    assert r.get(name) == bytes(model) + b"the end"


@claim
def a_write_far_behind_the_end_fills_with_zeros():
    name = key("gap")
    assert r.setrange(name, 2 * MIB, b"x") == 2 * MIB + 1
    assert r.get(name) == bytes(2 * MIB) + b"x"


@claim
def many_clients_move_large_values_at_once():
    def move(number):
        client = connect(decode_responses=False)
        name = key(f"mover-{number}")
        for turn in range(5):
            value = some_bytes(2 * MIB, seed=number * 100 + turn)
            client.set(name, value)
            assert client.get(name) == value

    in_threads(6, move)


@claim
def a_large_value_becomes_small_and_large_again():
    name = key("changes")
    for size in (MIB, 10, 0, 2 * MIB, 100):
        r.set(name, some_bytes(size, size))
        assert r.get(name) == some_bytes(size, size)
    r.delete(name)
    r.hset(name, "field", "value")
    assert r.hgetall(name) == {b"field": b"value"}


@claim
def a_hash_grows_to_five_thousand_fields_one_by_one():
    name, text = key("hash"), connect()
    with text.pipeline(transaction=False) as pipe:
        for number in range(5_000):
            pipe.hset(name, f"field:{number}", f"value {number}")
        assert pipe.execute() == [1] * 5_000
    assert text.hlen(name) == 5_000
    assert text.hgetall(name) == {f"field:{number}": f"value {number}" for number in range(5_000)}
    assert text.hmget(name, "field:0", "field:4999", "field:5000") == ["value 0", "value 4999", None]
    assert len(set(text.hkeys(name))) == len(text.hvals(name)) == 5_000


@claim
def a_hash_of_five_thousand_fields_is_changed_field_by_field():
    name, text = key("hash"), connect()
    model = {f"field:{number}": str(number) for number in range(5_000)}
    assert text.hset(name, mapping=model) == 5_000
    with text.pipeline(transaction=False) as pipe:
        for number in range(0, 5_000, 2):
            pipe.hincrby(name, f"field:{number}", 1)
            model[f"field:{number}"] = str(number + 1)
        for number in range(0, 5_000, 3):
            pipe.hdel(name, f"field:{number}")
            del model[f"field:{number}"]
        pipe.execute()
    assert text.hgetall(name) == model
    assert text.hlen(name) == len(model)
    assert text.hset(name, "field:1", "changed") == 0
    assert text.hsetnx(name, "field:1", "again") == 0
    assert text.hexists(name, "field:0") is False
    assert text.hdel(name, *model) == len(model)
    assert text.exists(name) == 0


@claim
def large_fields_of_a_hash_come_back_as_they_were():
    name, model = key("wide"), {f"f{number}".encode(): some_bytes(100_000, number) for number in range(50)}
    r.hset(name, mapping=model)
    assert r.hgetall(name) == model
    assert r.hstrlen(name, "f7") == 100_000


@claim
def a_string_longer_than_the_limit_is_refused_and_nothing_is_written():
    name = key("limit")
    try:
        r.setrange(name, 512 * MIB, b"x")
        raise AssertionError("a string of more than 512 MiB was accepted")
    except redis.ResponseError as error:
        assert "exceeds maximum allowed size" in str(error), error
    assert r.exists(name) == 0


run()
