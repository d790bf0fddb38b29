"""A prefix scan of a range keyspace of a million keys, and the same scan of a RocksDB with nothing around it.

One node with each engine, and the bare store, hold the same keys. In each round every one of them is walked once, keys
and values; over RESP in pages of 10,000 (FLUX.SCAN). Figures are medians of the rounds.
"""
import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

import redis

from systems import BIN, Cluster, cpu_seconds

VALUE_BYTES = 128
PAGE = 10_000


def key(rank):
    return b"key:%012d" % rank


def load(cluster, keys, values):
    cluster.wait_ready()
    cluster.ctl("keyspace", "create", "ordered", "--kind", "range")
    client = redis.Redis(port=cluster.nodes[0].resp, single_connection_client=True)
    client.execute_command("SELECT", "ordered")
    for at in range(0, keys, 1000):
        client.mset({key(rank): values[rank] for rank in range(at, min(at + 1000, keys))})
    if client.dbsize() != keys:
        raise SystemExit(f"{client.dbsize()} keys, not {keys}")


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Scanner:
    """Takes pages without taking them apart: all keys have one size, and so do all values."""
    ITEM = len(b"$16\r\n") + 16 + 2 + len(b"$%d\r\n" % VALUE_BYTES) + VALUE_BYTES + 2

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 20)
        self.socket.sendall(request(b"SELECT", b"ordered"))
        assert self.file.readline() == b"+OK\r\n"

    def walk(self):
        start, seen = b"key:", 0
        while start is not None:
            self.socket.sendall(request(b"FLUX.SCAN", start, b"key;", b"COUNT", b"%d" % PAGE, b"VALUES"))
            assert self.file.readline() == b"*2\r\n"
            size = int(self.file.readline()[1:])
            start = self.file.read(size + 2)[:-2] if size >= 0 else None
            items = int(self.file.readline()[1:]) // 2
            assert len(self.file.read(items * self.ITEM)) == items * self.ITEM
            seen += items
        return seen


def walk(cluster, scanner, keys):
    before, begun = cpu_seconds([n.process.pid for n in cluster.nodes]), time.monotonic()
    if scanner.walk() != keys:
        raise SystemExit("a scan does not see every key once")
    return keys / (time.monotonic() - begun), (cpu_seconds([n.process.pid for n in cluster.nodes]) - before) / keys * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    random = open("/dev/urandom", "rb")
    values = [random.read(VALUE_BYTES) for _ in range(arguments.keys)]
    with tempfile.TemporaryDirectory(prefix="fluxkv-bench-") as folder, \
            Cluster(1, engine="rocksdb") as on_rocks, Cluster(1) as in_memory:
        alone = subprocess.Popen([str(BIN / "rocks_scan"), str(pathlib.Path(folder) / "db"), str(arguments.keys),
                                  str(VALUE_BYTES), "key:"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert alone.stdout.readline() == "ready\n"
            clusters = {"fluxkv, rocksdb": on_rocks, "fluxkv, memory": in_memory}
            for cluster in clusters.values():
                load(cluster, arguments.keys, values)
            scanners = {name: Scanner(cluster.nodes[0].resp) for name, cluster in clusters.items()}
            rounds = []
            for _ in range(arguments.rounds):
                alone.stdin.write("\n")
                alone.stdin.flush()
                bare = json.loads(alone.stdout.readline())
                assert bare["keys"] == arguments.keys
                figures = {"rocksdb alone": (bare["keys"] / bare["seconds"], bare["cpu_seconds"] / bare["keys"] * 1e6)}
                for name, cluster in clusters.items():
                    figures[name] = walk(cluster, scanners[name], arguments.keys)
                rounds.append(figures)
        finally:
            alone.stdin.close()
            alone.wait(30)
        base = statistics.median(r["rocksdb alone"][0] for r in rounds)
        for name in rounds[0]:
            rate = statistics.median(r[name][0] for r in rounds)
            cpu = statistics.median(r[name][1] for r in rounds)
            print(f"{name:16}  {rate:10.0f} keys a second, {rate / base:.2f} of RocksDB alone, "
                  f"{cpu:5.2f} us of processor time a key")


main()
