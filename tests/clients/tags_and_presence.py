"""Tags and who is online, on sets: articles found by the tags they have, users who come and go, and sets stored of other sets."""

import random

from flow import claim, connect, in_threads, key, run

r = connect()


def tagged(tags, articles):
    """Sets of tags, a set an article and one a tag, as random as the seed; gives the tags' keys and what each should hold."""
    chance = random.Random(articles)
    prefix = key("tags")
    names = [f"{prefix}:tag:{tag}" for tag in tags]
    model = {name: set() for name in names}
    with r.pipeline(transaction=False) as pipe:
        for article in range(articles):
            mine = chance.sample(names, chance.randint(1, len(names)))
            pipe.sadd(f"{prefix}:article:{article}", *mine)
            for name in mine:
                pipe.sadd(name, f"article:{article}")
                model[name].add(f"article:{article}")
        pipe.execute()
    return names, model


@claim
def articles_are_found_by_all_any_or_none_of_their_tags():
    for articles in (8, 3_000):
        (red, green, blue), model = tagged(["red", "green", "blue"], articles)
        assert r.sinter(red, green) == model[red] & model[green]
        assert r.sinter(red, green, blue) == model[red] & model[green] & model[blue]
        assert r.sunion(red, blue) == model[red] | model[blue]
        assert r.sdiff(red, green, blue) == model[red] - model[green] - model[blue]
        both = len(model[red] & model[blue])
        assert r.sintercard(2, [red, blue]) == both
        assert r.sintercard(2, [red, blue], limit=3) == min(3, both)
        nothing = key("nothing")
        assert r.sinter(red, nothing) == set() and r.sintercard(2, [red, nothing]) == 0
        assert r.sunion(red, nothing) == r.sdiff(red, nothing) == model[red]
        assert r.scard(red) == len(model[red])
        assert set(r.sscan_iter(red, count=100)) == r.smembers(red) == model[red]


@claim
def a_page_of_results_is_stored_expires_and_is_made_anew():
    (red, green), model = tagged(["red", "green"], 2_000)
    page = key("page")
    r.set(page, "what was there before does not matter")
    assert r.sinterstore(page, red, green) == len(model[red] & model[green])
    assert r.smembers(page) == model[red] & model[green]
    assert r.expire(page, 1_000)
    assert r.sunionstore(page, red, green) == len(model[red] | model[green])
    assert r.ttl(page) == -1, "a set stored anew has no expiry"
    assert r.sdiffstore(page, page, green) == len(model[red] - model[green])
    assert r.smembers(page) == model[red] - model[green]
    assert r.sinterstore(page, red, key("nothing")) == 0 and not r.exists(page)
    assert r.sunionstore(red, red, green) == len(model[red] | model[green]), "a set can be stored over one of its sources"
    assert r.smembers(red) == model[red] | model[green]


@claim
def a_tag_given_and_taken_is_changed_on_both_sides_or_on_none():
    article, tag = key("article"), key("tag")

    def change(number):
        client = connect()
        for turn in range(100):
            with client.pipeline(transaction=True) as pipe:
                name = f"{number}:{turn}"
                pipe.sadd(article, name).sadd(tag, name)
                if turn % 3:
                    pipe.srem(article, name).srem(tag, name)
                answers = pipe.execute()
                assert answers == [1] * len(answers)
            with client.pipeline(transaction=True) as pipe:
                ours, theirs = pipe.smembers(article).smembers(tag).execute()
                assert ours == theirs, "half a transaction is seen"

    in_threads(4, change)
    kept = {f"{number}:{turn}" for number in range(4) for turn in range(0, 100, 3)}
    assert r.smembers(article) == r.smembers(tag) == kept


@claim
def users_who_come_and_go_are_counted_right():
    online, users = key("online"), 400

    def come_and_go(number):
        client, chance, here = connect(), random.Random(number), set()
        mine = [f"user:{number}:{user}" for user in range(users // 4)]
        for _ in range(500):
            user = chance.choice(mine)
            if chance.random() < 0.6:
                assert client.sadd(online, user) == int(user not in here)
                here.add(user)
            else:
                assert client.srem(online, user) == int(user in here)
                here.discard(user)
            assert client.sismember(online, user) == int(user in here)
        assert client.smismember(online, mine) == [int(user in here) for user in mine]
        return here

    here = set().union(*in_threads(4, come_and_go))
    assert r.scard(online) == len(here)
    assert r.smembers(online) == here
    friends = key("friends")
    r.sadd(friends, "user:0:1", "user:1:1", "user:2:1", "nobody")
    assert r.sinter(friends, online) == {"user:0:1", "user:1:1", "user:2:1"} & here
    assert r.smismember(friends, ["nobody", "user:0:2"]) == [1, 0]
    assert r.srem(online, *here) == len(here) and not r.exists(online)


@claim
def a_user_is_in_one_room_at_a_time():
    rooms = [key(f"room{number}") for number in range(3)]
    users = [f"user {number}" for number in range(150)]
    r.sadd(rooms[0], *users)

    def move(number):
        client, chance, moved = connect(), random.Random(number), 0
        for _ in range(400):
            source, target = chance.sample(rooms, 2)
            moved += client.smove(source, target, chance.choice(users))
        return moved

    assert sum(in_threads(4, move)) > 0
    assert sum(r.scard(room) for room in rooms) == len(users)
    assert r.sunion(rooms) == set(users) and r.sinter(rooms) == set()


@claim
def a_raffle_draws_each_ticket_once():
    for count in (30, 1_500):
        tickets, drawn = key("tickets"), key("drawn")
        all_tickets = {f"ticket {number}" for number in range(count)}
        r.sadd(tickets, *all_tickets)
        assert set(r.srandmember(tickets, 10)) <= all_tickets and len(r.srandmember(tickets, -50)) == 50

        def draw(_):
            client, mine = connect(), []
            while ticket := client.spop(tickets):
                client.sadd(drawn, ticket)
                mine.append(ticket)
                mine += client.spop(tickets, 3)
            return mine

        winners = sum(in_threads(4, draw), [])
        assert len(winners) == count and set(winners) == all_tickets
        assert r.smembers(drawn) <= all_tickets and not r.exists(tickets)


run()
