"""An activity feed on a list: the newest first, so many kept and no more; and a reliable queue, whose jobs are never in nobody's hands."""

import threading
from concurrent.futures import ThreadPoolExecutor

from flow import WAIT_S, claim, connect, in_threads, key, needs, run, wait_until

r = connect()
KEPT = 100


def post(pipe, feed, text):
    pipe.lpush(feed, text)
    pipe.ltrim(feed, 0, KEPT - 1)


@claim
@needs("ltrim")
def a_feed_shows_the_newest_first_and_keeps_no_more_than_it_should():
    feed = key("feed")
    for start in range(0, 1_000, 50):
        with r.pipeline(transaction=True) as pipe:
            for number in range(start, start + 50):
                post(pipe, feed, f"post {number}")
            pipe.execute()
    assert r.llen(feed) == KEPT
    assert r.lrange(feed, 0, 9) == [f"post {number}" for number in range(999, 989, -1)]
    assert r.lrange(feed, -1, -1) == [f"post {1_000 - KEPT}"]
    assert r.lindex(feed, 42) == "post 957"


@claim
@needs("ltrim")
def posts_of_many_writers_are_all_there_until_they_are_trimmed():
    feed = key("feed")

    def write(number):
        client = connect()
        for post_number in range(200):
            with client.pipeline(transaction=True) as pipe:
                post(pipe, feed, f"{number}:{post_number}")
                assert pipe.execute()[1]

    in_threads(4, write)
    assert r.llen(feed) == KEPT
    newest = r.lrange(feed, 0, -1)
    for number in range(4):
        mine = [int(text.split(":")[1]) for text in newest if text.startswith(f"{number}:")]
        assert mine == sorted(mine, reverse=True), "each writer's posts are in their order"


@claim
@needs("lrem", "linsert", "lset", "lpos")
def a_post_is_taken_back_changed_or_followed_by_an_advertisement():
    feed = key("feed")
    r.rpush(feed, *[f"post {number}" for number in range(300)])
    assert r.lrem(feed, 1, "post 150") == 1
    assert r.lpos(feed, "post 151") == 150
    assert r.lpos(feed, "post 150") is None
    r.lset(feed, 150, "post 151, corrected")
    assert r.linsert(feed, "AFTER", "post 151, corrected", "advertisement") == 300
    assert r.lrange(feed, 149, 152) == ["post 149", "post 151, corrected", "advertisement", "post 152"]
    assert r.lindex(feed, -100) == "post 200"


@claim
@needs("lmove", "lrem")
def a_job_whose_worker_dies_is_found_in_its_list_and_done_by_another():
    waiting, working, done = key("waiting"), key("working"), key("done")
    r.rpush(waiting, *[f"job {number}" for number in range(500)])
    dead = threading.Event()

    def work(number):
        client = connect()
        while job := client.lmove(waiting, working, "LEFT", "RIGHT"):
            if number == 0 and not dead.is_set():
                dead.set()
                return  # with the job in its hands
            with client.pipeline(transaction=True) as pipe:
                removed, _ = pipe.lrem(working, 1, job).rpush(done, job).execute()
                assert removed == 1

    in_threads(4, work)
    assert r.llen(working) == 1
    assert r.lmove(working, waiting, "LEFT", "LEFT") is not None
    work(1)
    assert r.exists(waiting, working) == 0
    assert sorted(r.lrange(done, 0, -1)) == sorted(f"job {number}" for number in range(500))


@claim
@needs("blmove", "lrem", "blmpop")
def stages_of_workers_hand_jobs_on_and_lose_none():
    stages = [key("stage") for _ in range(4)]
    jobs = 300

    def carry(number):
        client, moved = connect(), 0
        while (job := client.blmove(stages[number], stages[number + 1], WAIT_S, "LEFT", "RIGHT")) != "end":
            moved += 1
        return moved

    def collect():
        client, arrived = connect(), []
        while "end" not in arrived:
            name, batch = client.blmpop(WAIT_S, 2, key("empty"), stages[3], direction="LEFT", count=7)
            assert name == stages[3]
            arrived += batch
        return arrived

    with ThreadPoolExecutor(4) as pool:
        carrying = [pool.submit(carry, number) for number in range(3)]
        collecting = pool.submit(collect)
        for job in range(jobs):
            r.rpush(stages[0], job)
        r.rpush(stages[0], "end")
        assert [carrier.result() for carrier in carrying] == [jobs] * 3
        assert collecting.result() == [str(job) for job in range(jobs)] + ["end"]
    assert r.exists(*stages) == 0


@claim
@needs("blmove")
def a_worker_that_went_away_while_it_waited_moves_nothing():
    source, target = key("source"), key("target")
    already = r.info("clients")["blocked_clients"]
    connection = connect().connection_pool.get_connection()
    connection.send_command("BLMOVE", source, target, "LEFT", "RIGHT", 0)
    wait_until(lambda: r.info("clients")["blocked_clients"] == already + 1, "the worker waits")
    connection.disconnect()
    wait_until(lambda: r.info("clients")["blocked_clients"] == already, "the server has seen the worker go")
    r.rpush(source, "job")
    assert r.lrange(source, 0, -1) == ["job"] and r.exists(target) == 0


run()
