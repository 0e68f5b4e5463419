"""A leaderboard on a sorted set: points are added, the best and one's own neighbours are shown, places are right at any size."""

import random

from flow import claim, connect, in_threads, key, run

r = connect()


@claim
def points_add_up_and_the_best_come_first():
    board = key("board")
    r.zadd(board, {"ann": 10, "bob": 30, "cat": 20})
    assert r.zincrby(board, 25, "ann") == 35
    assert r.zrevrange(board, 0, 1, withscores=True) == [("ann", 35.0), ("bob", 30.0)]
    assert r.zrevrank(board, "cat") == 2
    assert r.zrank(board, "nobody") is None
    assert r.zmscore(board, ["cat", "nobody"]) == [20.0, None]


@claim
def only_a_better_result_counts():
    board = key("best")
    assert r.zadd(board, {"ann": 100}, gt=True, ch=True) == 1
    assert r.zadd(board, {"ann": 90, "bob": 5}, gt=True, ch=True) == 1
    assert r.zadd(board, {"ann": 110}, gt=True, ch=True) == 1
    assert r.zrange(board, 0, -1, withscores=True) == [("bob", 5.0), ("ann", 110.0)]
    assert r.zadd(board, {"ann": 1}, nx=True) == 0


@claim
def places_and_neighbours_are_right_among_thousands():
    board, players = key("large"), 5_000
    chance = random.Random(7)
    points = {f"player:{number:05d}": chance.randrange(1_000) for number in range(players)}
    with r.pipeline(transaction=False) as pipe:
        names = list(points)
        for start in range(0, players, 100):
            pipe.zadd(board, {name: points[name] for name in names[start : start + 100]})
        pipe.execute()
    for name in chance.sample(names, 500):
        points[name] += 37
        assert r.zincrby(board, 37, name) == points[name]
    ranked = sorted(points, key=lambda name: (points[name], name), reverse=True)
    assert r.zcard(board) == players
    assert r.zrevrange(board, 0, 9) == ranked[:10]
    assert r.zrevrange(board, 4_000, 4_009) == ranked[4_000:4_010]
    for name in chance.sample(names, 20):
        place = r.zrevrank(board, name)
        assert place == ranked.index(name)
        assert r.zrevrange(board, max(place - 2, 0), place + 2) == ranked[max(place - 2, 0) : place + 3]
    assert r.zcount(board, 500, "(600") == sum(500 <= points[name] < 600 for name in names)
    assert dict(r.zscan_iter(board, count=500)) == points


@claim
def many_at_once_lose_no_points():
    board, players, rounds = key("busy"), 20, 200

    def play(number):
        client, chance = connect(), random.Random(number)
        for _ in range(rounds):
            client.zincrby(board, 1, f"p{chance.randrange(players)}")

    in_threads(4, play)
    assert sum(score for _, score in r.zrange(board, 0, -1, withscores=True)) == 4 * rounds


@claim
def boards_of_days_make_a_board_of_the_week():
    days = [key(f"day{number}") for number in range(3)]
    week = key("week")
    r.zadd(days[0], {"ann": 1, "bob": 2})
    r.zadd(days[1], {"bob": 3, "cat": 4})
    r.zadd(days[2], {"ann": 5})
    assert r.zunionstore(week, days) == 3
    assert r.zrange(week, 0, -1, withscores=True) == [("cat", 4.0), ("bob", 5.0), ("ann", 6.0)]
    assert r.zinter(days[:2]) == ["bob"]
    assert r.zdiff(days[:2]) == ["ann"]
    assert r.zrangestore(key("top"), week, 0, 1, desc=True) == 2


run()
