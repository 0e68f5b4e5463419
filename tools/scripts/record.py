#!/usr/bin/env python3
"""Records what a Redis answers to the scripts of src/script/recorded.txt, for src/script/recorded.rs to compare.

Usage: record.py PORT < scripts > src/script/recorded.txt
`scripts` may be the file itself: lines that begin with `> ` are scripts, in which `\\n` stands for a line end; all others are
ignored. Each script runs with the keys key1 and key2 and the arguments arg1, 2 and "" in RESP2, then in RESP3.
"""
import socket
import sys


def escape(data):
    names = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r", 0x22: '\\"', 0x27: "\\'", 0x5C: "\\\\"}
    return "".join(names.get(b) or (chr(b) if 0x20 <= b < 0x7F else "\\x%02x" % b) for b in data)


def read_reply(stream):
    line = stream.readline()
    kind, rest = line[:1], line[1:-2]
    if kind in b"$=" and rest != b"-1":
        return line + stream.read(int(rest) + 2)
    if kind in b"*~%" and rest != b"-1":
        count = int(rest) * (2 if kind == b"%" else 1)
        return line + b"".join(read_reply(stream) for _ in range(count))
    return line


def run(stream, *words):
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
    stream.write(request)
    stream.flush()
    return read_reply(stream)


def main():
    stream = socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile("rwb")
    print("# Written by tools/scripts/record.py: a script, its reply in RESP2, and in RESP3 if that differs.")
    for line in sys.stdin.buffer.read().split(b"\n"):
        if not line.startswith(b"> "):
            continue
        text = line[2:].replace(b"\\n\\", b"\n")
        replies = []
        for proto in (b"2", b"3"):
            run(stream, b"HELLO", proto)
            run(stream, b"FLUSHALL")
            # What cjson has been set to goes with the interpreter.
            run(stream, b"SCRIPT", b"FLUSH", b"SYNC")
            replies.append(run(stream, b"EVAL", text, b"2", b"key1", b"key2", b"arg1", b"2", b""))
        print(line.decode())
        print(escape(replies[0]))
        if replies[0] != replies[1]:
            print("3: " + escape(replies[1]))


main()
