"""Credit moves between accounts with WATCH, MULTI and EXEC: who loses a race tries again, and the total never changes."""

import random
import threading

import redis

from flow import claim, connect, in_threads, key, run

r = connect()


def transfer(client, source, target, amount, before_exec=lambda: None):
    """Moves `amount` if `source` holds it; returns whether it did, and how many tries were lost to others."""
    lost = 0
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch(source, target)
                if int(pipe.get(source)) < amount:
                    pipe.unwatch()
                    return False, lost
                before_exec()
                pipe.multi()
                pipe.decrby(source, amount).incrby(target, amount)
                pipe.execute()
                return True, lost
            except redis.WatchError:
                lost += 1


@claim
def the_total_is_preserved_whoever_transfers_and_whoever_looks():
    accounts = [key(f"account-{number}") for number in range(4)]
    r.mset({account: 1_000 for account in accounts})
    threads, transfers = 8, 150

    def take_part(number):
        client, chance = connect(), random.Random(number)
        lost = 0
        for _ in range(transfers):
            source, target = chance.sample(accounts, 2)
            lost += transfer(client, source, target, chance.randint(1, 50))[1]
            with client.pipeline() as pipe:
                for account in accounts:
                    pipe.get(account)
                seen = [int(balance) for balance in pipe.execute()]
            assert sum(seen) == 4_000 and min(seen) >= 0, seen
        return lost

    in_threads(threads, take_part)
    assert sum(int(balance) for balance in r.mget(accounts)) == 4_000


@claim
def of_many_transfers_that_read_the_same_balance_one_wins_and_the_rest_try_again():
    source, target, threads = key("source"), key("target"), 6
    r.mset({source: threads, target: 0})
    barrier = threading.Barrier(threads)

    def take_part(_):
        waited = []

        def wait_for_all_once():
            if not waited:
                waited.append(True)
                barrier.wait(timeout=60)

        return transfer(connect(), source, target, 1, wait_for_all_once)

    results = in_threads(threads, take_part)
    assert all(moved for moved, _ in results)
    assert sum(1 for _, lost in results if lost == 0) == 1, "the first round has one winner"
    assert sum(lost for _, lost in results) >= threads - 1
    assert r.mget(source, target) == ["0", str(threads)]


@claim
def exec_does_nothing_when_a_watched_key_was_changed():
    watched, other = key("watched"), key("other")
    r.set(watched, 1)
    for change in (
        lambda: r.incr(watched),
        lambda: r.delete(watched),
        lambda: r.set(watched, 2),
        lambda: r.pexpire(watched, 60_000),
        lambda: r.rename(watched, key("renamed")),
        lambda: r.hset(watched, "field", "value"),
    ):
        with r.pipeline() as pipe:
            pipe.watch(watched)
            change()
            pipe.multi()
            pipe.set(other, "written")
            try:
                pipe.execute()
                raise AssertionError("EXEC went through")
            except redis.WatchError:
                pass
    assert r.exists(other) == 0


@claim
def exec_goes_through_when_other_keys_were_changed_or_the_watch_was_given_up():
    watched, other = key("watched"), key("other")
    with r.pipeline() as pipe:
        pipe.watch(watched)
        r.set(other, 1)
        pipe.multi()
        assert pipe.incr(watched).execute() == [1]
        pipe.watch(watched)
        r.incr(watched)
        pipe.unwatch()
        pipe.multi()
        assert pipe.incr(watched).execute() == [3]


@claim
def a_transaction_with_a_wrong_command_is_refused_whole():
    name = key("refused")
    with r.pipeline() as pipe:
        pipe.set(name, 1).execute_command("SET", name)
        try:
            pipe.execute()
            raise AssertionError("EXEC went through")
        except redis.ResponseError as error:
            assert "wrong number of arguments" in str(error), error
    assert r.exists(name) == 0


@claim
def a_command_that_fails_inside_exec_leaves_the_others_done():
    text, number = key("text"), key("number")
    with r.pipeline() as pipe:
        first, failed, last = pipe.set(text, "abc").incr(text).incr(number).execute(raise_on_error=False)
    assert first is True and last == 1
    assert isinstance(failed, redis.ResponseError) and "not an integer" in str(failed)


@claim
def redis_py_s_own_transaction_function_works():
    source, target = key("source"), key("target")
    r.mset({source: 10, target: 0})

    def move(pipe):
        balance = int(pipe.get(source))
        pipe.multi()
        pipe.set(source, balance - 3).incrby(target, 3)

    assert r.transaction(move, source, target) == [True, 3]
    assert r.mget(source, target) == ["7", "3"]


run()
