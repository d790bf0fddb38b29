#!/usr/bin/env python3
"""The same bytes to redis-server and to fluxkv; the same bytes back, but for what docs/differences.md names.

    resp_differential.py [--seconds S] [--from SEED] [--seed N] [FILE...]

Without --seed or files: the inputs kept in tests/fuzz/resp_differential, then new ones until the time is over, from SEED
on or from anywhere. A case is one connection's life: commands in the shapes clients send them, options that do not go
together, numbers at the edges, binary keys, protocol errors. A case that differs is made smaller and kept in
build/fuzz/failures; FILE runs it again.
"""
import argparse
import json
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import Cluster, free_ports, wait_for  # noqa: E402  (its folder must be known first)

KEPT = ROOT / "tests/fuzz/resp_differential"
FAILURES = ROOT / "build/fuzz/failures"
END = b"*2\r\n$4\r\nECHO\r\n$8\r\n<the-end\r\n"
END_REPLY = b"$8\r\n<the-end\r\n"


# --- Cases -----------------------------------------------------------------------------------------------------------
# A list of items: {"command": [...]}, {"inline": "..."}, {"raw": "..."}; text is latin-1. A first item {"resp3": true}
# asks for RESP3 before anything else.

NUMBERS = ["0", "1", "-1", "2", "7", "10", "100", "-100", "1000", "1000000", "2147483647", "2147483648", "-2147483649",
           "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
           "99999999999999999999", "00", "01", "-0", "+1", " 1", "1 ", "1.0", "1.5", "-1.5", "1e3", "1e400", "-1e400",
           "inf", "-inf", "nan", "0x10", "abc", "", "1a", "3.14159265358979", "0.1", "-0.0", ".5", "5.", "1e-7",
           "17179869184.5", "\x00", "1\x00"]
VALUES = NUMBERS + ["v", "hello world", "\x00\r\n\xff", "\xf0\x9f\x98\x80", "x" * 100, "\r\n", "*1\r\n", "'", '"']
KEYS = ["a", "b", "c", "d", "key:1", "{t}1", "{t}2", "\x00\xff", "", " ", "k" * 300]
# Far from now on either side, so that two clocks judge alike; which of two relative deadlines is later, they do not.
FAR = ["1000", "5000", "100000", "999999999"]
FAR_AT = ["9999999999", "99999999999", "4102444800"]
FAR_AT_MS = ["9999999999999", "99999999999999", "4102444800000"]
TIMES = FAR + ["0", "-1", "-5", "abc", "", "9223372036854775807", "-9223372036854775808", "9223372036854775",
               "9223372036854776", "99999999999999999999", "1.5"]
ODD_WORDS = ["FOO", "NX", "XX", "GET", "KEEPTTL", "PERSIST", "GT", "LT", "REPLACE", "EX", "PX", "COUNT", "MATCH", "", "DB"]


# With other words they would go to one of Redis's other databases, keep half of what was refused, go on where no scan
# has been, or wait for replicas that this Redis does not have.
ONE_SHAPE = ("SELECT", "COPY", "HELLO", "SCAN", "WAIT")


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, *choices):
        return self.rng.choice(choices)

    def key(self):
        return self.rng.choice(KEYS[:4]) if self.rng.random() < 0.8 else self.rng.choice(KEYS)

    def number(self):
        return str(self.rng.randrange(-20, 20)) if self.rng.random() < 0.5 else self.rng.choice(NUMBERS)

    def value(self):
        return self.rng.choice(VALUES)

    def some(self, make, low=1, high=4):
        return [make() for _ in range(self.rng.randrange(low, high + 1))]

    def pairs(self):
        return [each for _ in range(self.rng.randrange(1, 4)) for each in (self.key(), self.value())]

    def expiry(self):
        return self.pick(["EX", self.pick(*TIMES)], ["PX", self.pick("1000000", "99999999", *TIMES[4:])],
                         ["EXAT", self.pick(*FAR_AT, *TIMES[4:])], ["PXAT", self.pick(*FAR_AT_MS, *TIMES[4:])])

    def set_options(self):
        options = []
        for _ in range(self.rng.randrange(0, 4)):
            options += self.pick(["NX"], ["XX"], ["GET"], ["KEEPTTL"], self.expiry(), [self.pick(*ODD_WORDS)])
        return options

    def command(self):
        key, pick = self.key, self.pick
        command = self.rng.choice([
            lambda: ["SET", key(), self.value()] + self.set_options(),
            lambda: ["GET", key()], lambda: ["GETDEL", key()], lambda: ["STRLEN", key()], lambda: ["TYPE", key()],
            lambda: ["GETSET", key(), self.value()], lambda: ["SETNX", key(), self.value()],
            lambda: [pick("SETEX", "PSETEX"), key(), pick(*TIMES), self.value()],
            lambda: ["GETEX", key()] + pick([], ["PERSIST"], self.expiry(), self.expiry() + ["PERSIST"], ["FOO"]),
            lambda: ["MGET"] + self.some(key), lambda: ["MSET"] + self.pairs(), lambda: ["MSETNX"] + self.pairs(),
            lambda: ["MSET", key(), self.value(), key()],
            lambda: [pick("DEL", "UNLINK", "EXISTS", "TOUCH")] + self.some(key),
            lambda: ["APPEND", key(), self.value()],
            lambda: [pick("GETRANGE", "SUBSTR"), key(), self.number(), self.number()],
            lambda: ["SETRANGE", key(), pick("0", "1", "5", "40", "-1", "abc", "536870912", "9223372036854775807"),
                     self.value()],
            lambda: [pick("INCR", "DECR"), key()],
            lambda: [pick("INCRBY", "DECRBY", "INCRBYFLOAT"), key(), self.number()],
            lambda: ["EXPIRE", key(), pick(*TIMES)] + self.some(lambda: pick("NX", "XX", "FOO"), 0, 2),
            lambda: ["PEXPIRE", key(), pick("1000000", "99999999", *TIMES[4:])] + self.some(
                lambda: pick("NX", "XX"), 0, 2),
            lambda: ["EXPIREAT", key(), pick(*FAR_AT, *TIMES[4:])] + self.some(lambda: pick("NX", "XX", "GT", "LT"), 0, 2),
            lambda: ["PEXPIREAT", key(), pick(*FAR_AT_MS, *TIMES[4:])] + self.some(
                lambda: pick("NX", "XX", "GT", "LT"), 0, 2),
            lambda: [pick("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST"), key()],
            lambda: [pick("RENAME", "RENAMENX"), key(), key()],
            lambda: ["COPY", key(), key()] + pick([], ["REPLACE"], ["DB", "0"], ["DB", "0", "REPLACE"], ["DB", "x"],
                                                  ["DB", "99"], ["DB", "-1"], ["DB"], ["FOO"]),
            lambda: ["DBSIZE"], lambda: ["KEYS", pick("*", "?", "[ab]", "key:*", "[^a]", "\\*", "", "{t}?", "[a-", "*\xff")],
            lambda: ["SCAN", pick("abc", "1.5", "99999999999999999999")],
            lambda: ["SCAN", "0", pick("COUNT", "MATCH", "TYPE", "FOO"), pick("0", "-1", "abc")][:self.rng.randrange(3, 5)],
            lambda: ["PING"] + self.some(self.value, 0, 2), lambda: ["ECHO"] + self.some(self.value, 0, 2),
            lambda: ["SELECT", pick("0", "x", "-1", "16", "99999999999", "")],
            lambda: ["CLIENT", pick("GETNAME", "getname")],
            lambda: ["CLIENT", "SETNAME", pick("me", "", "a b", "a\nb", "\xff", "x" * 50)],
            lambda: ["CLIENT", "NO-EVICT", pick("on", "OFF", "x")], lambda: ["CLIENT", pick("FOO", "SETNAME", "ID", "")] + [
                "a"] * self.rng.randrange(2, 4),
            lambda: ["HELLO", pick("abc", "1", "4", "3 ", "-1")], lambda: ["HELLO", "3", pick("FOO", "SETNAME", "AUTH")],
            lambda: ["WAIT", pick("x", "0"), pick("x", "-1")],
            lambda: [pick("FLUSHDB", "FLUSHALL")] + pick([], ["ASYNC"], ["SYNC"], ["FOO"], ["SYNC", "SYNC"]),
            lambda: [pick("NOSUCH", "GETT", "", "\x00", "nosuch\r\ncommand", "x" * 200)] + self.some(self.value, 0, 30),
        ])()
        if self.rng.random() < 0.04 and command[0] not in ONE_SHAPE:  # a wrong number of words
            command = command[:self.rng.randrange(1, len(command) + 1)] + self.some(self.value, 0, 2)
        if self.rng.random() < 0.2:
            command[0] = "".join(pick(c.lower(), c.upper()) for c in command[0])
        return command

    def inline(self):
        def quoted(word):
            if re.fullmatch(r"[!#-&(-\[\]-~]+", word) and self.rng.random() < 0.7:
                return word
            if "'" not in word and self.rng.random() < 0.3 and all(" " <= c <= "~" for c in word):
                return "'" + word + "'"
            return '"' + "".join(c if " " <= c <= "~" and c not in '\\"' else f"\\x{ord(c):02x}" for c in word) + '"'
        line = self.pick(" ", "  ", "\t").join(quoted(word) for word in self.command())
        return self.pick("", "", "", " ") + line + self.pick("", "", "", " ") + self.pick("\r\n", "\r\n", "\n")

    def raw(self):
        """What no client should send."""
        return self.pick(
            "\r\n", "\n", "*0\r\n", "*-1\r\n", "*-5\r\n", "*abc\r\n", "*\r\n", "*2147483648\r\n", "*99999999999999999999\r\n",
            "*1\r\n$-1\r\n", "*1\r\n$-5\r\n", "*1\r\n$abc\r\n", "*1\r\n$\r\n", "*1\r\n+PING\r\n", "*1\r\n:1\r\n", "*1\r\n\r\n",
            "*1\r\n$99999999999\r\n", "*1\r\n$4\r\nPINGxx", "*1\r\n$4\r\nPING\n\n", "*1\r\n$04\r\nPING\r\n", "*01\r\n$4\r\nPING\r\n",
            "*+1\r\n$4\r\nPING\r\n", "* 1\r\n$4\r\nPING\r\n", "*1\r\n$+4\r\nPING\r\n", '"unbalanced\r\n', "'a'b\r\n", '"a"b\r\n',
            '"\\x4"\r\n', "$4\r\nPING\r\n", "+OK\r\n", "-ERR\r\n", ":1\r\n", "GET a\rb\r\n",
            "GET '\\'a'\r\n", 'SET a "\\n\\r\\t\\b\\a\\q"\r\n', "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n")

    def case(self):
        items = [{"resp3": True}] if self.rng.random() < 0.25 else []
        for _ in range(self.rng.randrange(1, 40)):
            items.append({"command": self.command()} if self.rng.random() < 0.8 else {"inline": self.inline()})
        if self.rng.random() < 0.3:  # at the end: nobody could tell which reply after it belongs to what
            items.append({"raw": self.raw()})
        return items


def encode(item):
    if "command" in item:
        words = [word.encode("latin-1") for word in item["command"]]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return item.get("inline", item.get("raw", "")).encode("latin-1")


# --- Answers ---------------------------------------------------------------------------------------------------------

def take_reply(data):
    """One whole reply off the front; None if there is none."""
    end = data.find(b"\r\n")
    if end < 0:
        return None
    kind, size, at = data[:1], data[1:end], end + 2
    if kind in b"$=!" and size not in (b"-1",):
        at += int(size) + 2
        return data[:at] if len(data) >= at else None
    if kind in b"*%~>" and size not in (b"-1",):
        for _ in range(int(size) * (2 if kind == b"%" else 1)):
            inner = take_reply(data[at:])
            if inner is None:
                return None
            at += len(inner)
    return data[:at]


def split_replies(data):
    replies = []
    while data:
        reply = take_reply(data) or data
        replies.append(reply)
        data = data[len(reply):]
    return replies


def name_of(item):
    """The command of an item, in capitals."""
    if "command" in item:
        return item["command"][0].upper()
    words = item.get("inline", "").split()
    return words[0].strip("\"'").upper() if words else ""


# What may differ, by command: whether two different replies are both right.
def number_within(allowed):
    def alike(theirs, ours):
        numbers = [re.fullmatch(rb":(-?\d+)\r\n", each) for each in (theirs, ours)]
        return all(numbers) and abs(int(numbers[0].group(1)) - int(numbers[1].group(1))) <= allowed and \
            int(numbers[0].group(1)) > 100
    return alike


def in_any_order(theirs, ours):
    return sorted(split_replies(theirs.partition(b"\r\n")[2])) == sorted(split_replies(ours.partition(b"\r\n")[2]))


def value_limit(theirs, ours):
    """A value has 16 MiB here."""
    words = b"-ERR string exceeds maximum allowed size ("
    return theirs == words + b"proto-max-bulk-len)\r\n" and ours == words + b"16777216 bytes)\r\n"


def time_of_no_key(theirs, ours):
    """Redis looks for the key before it looks at the time."""
    return theirs in (b"$-1\r\n", b"_\r\n") and ours in (b"-ERR value is not an integer or out of range\r\n",
                                                       b"-ERR invalid expire time in 'getex' command\r\n")


def another_id(theirs, ours):
    """Connections are counted by each server, and here are no passwords, not even wrong ones."""
    if theirs.startswith(b"-WRONGPASS "):
        return ours.startswith(b"-ERR AUTH <password> called without any password configured ")
    return re.sub(rb"(id\r\n):\d+", rb"\1", theirs) == re.sub(rb"(id\r\n):\d+", rb"\1", ours)


def another_walk(theirs, ours):
    """Whole scans give the same keys; a cursor must be one that was given out."""
    end = b"*2\r\n$1\r\n0\r\n"
    if ours == b"-ERR invalid cursor\r\n":
        return theirs.startswith(end) or theirs == b"-ERR syntax error\r\n"
    return theirs.startswith(end) and ours.startswith(end) and in_any_order(theirs[len(end):], ours[len(end):])


def two_numbers(theirs, ours):
    return all(re.fullmatch(rb":\d+\r\n", each) for each in (theirs, ours))


def overdue_keys_count(theirs, ours):
    """Redis counts a key that was set with a deadline in the past until it meets it."""
    return two_numbers(theirs, ours) and int(ours[1:]) < int(theirs[1:])


def no_such_keyspace(expected, got):
    """Databases have names, so one that is no number is one that is not there."""
    return expected == b"-ERR value is not an integer or out of range\r\n" and got.startswith(b"-ERR there is no keyspace ")


EXCEPTIONS = {
    "SELECT": no_such_keyspace, "COPY": no_such_keyspace,
    "CLIENT": two_numbers,  # CLIENT ID
    "HELLO": another_id,
    # A relative deadline begins when each server has the command; what is left is looked at a little later.
    "TTL": number_within(5), "PTTL": number_within(5000), "EXPIRETIME": number_within(5), "PEXPIRETIME": number_within(5000),
    # Keys come in each store's own order.
    "KEYS": in_any_order, "SCAN": another_walk,
    "GETEX": time_of_no_key,
    "DBSIZE": overdue_keys_count,
}


def up_to_the_advice(reply):
    """What is wrong; which subcommands there are is each server's own."""
    return reply.partition(b". Try ")[0] if reply.startswith(b"-ERR unknown subcommand ") else reply


def first_difference(items, theirs, ours):
    """None, or (item or None, redis's reply, ours)."""
    commands = [item for item in items if "resp3" not in item]
    known = next((i for i, item in enumerate(commands) if "raw" in item), len(commands))
    theirs, ours = split_replies(theirs), split_replies(ours)
    for i in range(max(len(theirs), len(ours))):
        expected = theirs[i] if i < len(theirs) else b""
        got = ours[i] if i < len(ours) else b""
        item = commands[i] if i < known else None
        # Redis takes any two bytes for the end of a bulk string; here the connection ends.
        if got == b"-ERR Protocol error: bulk string does not end with CRLF\r\n" and item is None:
            return None
        if up_to_the_advice(expected) == up_to_the_advice(got) or value_limit(expected, got):
            continue
        if item is not None and name_of(item) in EXCEPTIONS and EXCEPTIONS[name_of(item)](expected, got):
            continue
        return item, expected, got
    return None


# --- Servers ---------------------------------------------------------------------------------------------------------

class Door:
    def __init__(self, port):
        self.port = port
        self.steady = self.connect()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def empty(self):
        self.steady.sendall(b"FLUSHALL\r\n")
        assert self.steady.recv(100) == b"+OK\r\n"

    def answers(self, items, silence):
        """All that comes back on one connection: up to the final answer, or the connection's end, or silence."""
        self.empty()
        with self.connect() as connection:
            if items and "resp3" in items[0]:
                connection.sendall(b"HELLO 3\r\n")
                greeting = b""
                while take_reply(greeting) is None:
                    greeting += connection.recv(65536)
            data = b""
            connection.settimeout(silence)
            try:
                connection.sendall(b"".join(encode(item) for item in items if "resp3" not in item) + END)
                while not data.endswith(END_REPLY):
                    more = connection.recv(1 << 20)
                    if not more:
                        break
                    data += more
            except OSError:  # closed in the middle, or silent
                pass
        return data


class RedisServer:
    def __enter__(self):
        (self.port,) = free_ports(1)
        self.dir = tempfile.TemporaryDirectory(prefix="fluxkv-redis-")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("redis-server", self.listens)
        return self

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.dir.cleanup()


class Pair:
    def __init__(self, redis_port, flux_port):
        self.redis = Door(redis_port)
        self.flux = Door(flux_port)

    def difference(self, items, patience=0.2):
        theirs = self.redis.answers(items, patience)
        # Where Redis waits for more bytes, so must we.
        ours = self.flux.answers(items, 5.0 if theirs.endswith(END_REPLY) else patience)
        return first_difference(items, theirs, ours)

    def shrink(self, items):
        """Fewer items, then fewer words, as long as something differs."""
        size = len(items) // 2
        while size > 0:
            at = 0
            while at < len(items):
                fewer = items[:at] + items[at + size:]
                if fewer and self.difference(fewer):
                    items = fewer
                else:
                    at += size
            size //= 2
        for i, item in enumerate(items):
            for word in reversed(range(1, len(item.get("command", [])))):
                shorter = {"command": item["command"][:word] + item["command"][word + 1:]}
                if self.difference(items[:i] + [shorter] + items[i + 1:]):
                    item = items[i] = shorter
        return items


def tell(items, difference):
    item, expected, got = difference
    lines = [f"     {json.dumps(each)[:300]}" for each in items]
    return "\n".join(lines + [f"   at     {json.dumps(item)[:300]}", f"   redis  {expected[:300]}", f"   fluxkv {got[:300]}"])


def load(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def save(name, items):
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"resp_differential-{name}"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def main():
    parser = argparse.ArgumentParser(description="Holds fluxkv's answers against redis-server's.")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--from", type=int, dest="first", metavar="SEED", help="the first new case; anywhere without it")
    parser.add_argument("--seed", type=int, help="this case only")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="cases that were kept")
    options = parser.parse_args()
    problems, cases = [], 0
    with RedisServer() as theirs, Cluster(1) as cluster:
        pair = Pair(theirs.port, cluster.nodes[0].resp)

        def run(name, items):
            # Silence on a busy machine may be slowness.
            if not pair.difference(items) or not pair.difference(items, patience=3.0):
                return
            items = pair.shrink(items)
            difference = pair.difference(items, patience=3.0)
            if difference is None:
                return
            path = save(name, items)
            problems.append(name)
            print(f"DIFFERENT: {name}, kept as {path.relative_to(ROOT)}\n{tell(items, difference)}", flush=True)

        files = options.files or ([] if options.seed is not None else sorted(KEPT.iterdir()))
        for path in files:
            run(path.name, load(path))
        if options.seed is not None:
            run(options.seed, Maker(random.Random(options.seed)).case())
        elif not options.files:
            until = time.monotonic() + options.seconds
            base = random.SystemRandom().randrange(1 << 40) if options.first is None else options.first
            while time.monotonic() < until and len(problems) < 10:
                run(base + cases, Maker(random.Random(base + cases)).case())
                cases += 1
    print(f"{len(files)} kept and {cases} new cases, {len(problems)} differ")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
