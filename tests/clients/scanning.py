"""SCAN and HSCAN: whatever is there from begin to end of a scan is seen, whatever else happens meanwhile."""

from flow import claim, connect, key, run

r = connect()


def fill(prefix, count):
    with r.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.set(f"{prefix}:{number}", number)
        pipe.execute()
    return {f"{prefix}:{number}" for number in range(count)}


@claim
def a_scan_sees_all_ten_thousand_keys():
    prefix = key("scan")
    names = fill(prefix, 10_000)
    for count in (10, 1_000):
        seen = list(r.scan_iter(match=f"{prefix}:*", count=count))
        assert set(seen) == names
        assert len(seen) == len(names), "without writes none is seen twice"
    assert set(r.scan_iter(count=1_000)) >= names


@claim
def what_stays_is_seen_while_other_keys_come_and_go():
    stays, goes, comes = key("stays"), key("goes"), key("comes")
    names = fill(stays, 2_000)
    gone = sorted(fill(goes, 2_000))
    seen = set()
    for number, name in enumerate(r.scan_iter(count=50)):
        seen.add(name)
        if gone and number % 2 == 0:
            r.delete(gone.pop())
        if number % 3 == 0 and number < 6_000:
            r.set(f"{comes}:{number}", number)
    assert seen >= names


@claim
def a_pattern_and_a_type_select():
    prefix = key("select")
    r.set(f"{prefix}:text", 1)
    r.hset(f"{prefix}:hash", "field", 1)
    r.rpush(f"{prefix}:list", 1)
    assert list(r.scan_iter(match=f"{prefix}:*", _type="hash", count=1_000)) == [f"{prefix}:hash"]
    assert list(r.scan_iter(match=f"{prefix}:l[h-j]??", count=1_000)) == [f"{prefix}:list"]
    assert sorted(r.keys(f"{prefix}:*")) == sorted(f"{prefix}:{kind}" for kind in ("text", "hash", "list"))


@claim
def dbsize_counts_exactly():
    before = r.dbsize()
    names = sorted(fill(key("size"), 1_000))
    assert r.dbsize() == before + 1_000
    assert r.delete(*names[:400]) == 400
    assert r.unlink(*names[400:], names[0]) == 600
    assert r.dbsize() == before


@claim
def a_hash_is_scanned_whole_small_and_large():
    for count in (3, 100, 5_000):
        name = key(f"hash-{count}")
        fields = {f"field:{number}": str(number) for number in range(count)}
        r.hset(name, mapping=fields)
        assert dict(r.hscan_iter(name)) == fields
        assert dict(r.hscan_iter(name, match="field:1*", count=500)) == {
            field: value for field, value in fields.items() if field.startswith("field:1")
        }


run()
