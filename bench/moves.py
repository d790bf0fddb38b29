"""What clients notice of shards that move: throughput while a cluster grows by a group, and the pause of a moving shard.

Six nodes, two groups on the first three; --keys keys of 128 bytes. A load driver runs before, again while a third group
on the other three nodes gets its share of the shards, at a --move-rate that makes this last about as long, and once more
when all is over: what has gone by then is the price of more nodes on the same cores, not of moves. Then single shards move to and fro under a client of their
own, which writes keys of that shard one after the other: the slowest of its writes during a move is the move's pause.
"""
import argparse
import json
import statistics
import subprocess
import threading
import time

import redis

from systems import BIN, Cluster, wait_for


def load(cluster, seconds, *more):
    endpoint = f"127.0.0.1:{cluster.nodes[0].resp}"
    done = subprocess.run([str(BIN / "fluxctl"), "--resp", endpoint, "-o", "json", "bench", "--quiet", "--connections", "32",
                           "--read-ratio", "0.5", "--seconds", str(seconds), *more],
                          capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout)


def plans(cluster):
    return json.loads(cluster.ctl("-o", "json", "plan", "list"))


def shards(cluster):
    return json.loads(cluster.ctl("-o", "json", "shard", "list"))


def grow(cluster, seconds):
    before = load(cluster, seconds)
    cluster.ctl("balance", "off")
    cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
    wait_for("the new group", lambda: any(g["id"] == 3 and g["state"] == "serving"
                                          for g in json.loads(cluster.ctl("-o", "json", "group", "list"))), 30)
    during = {}
    driver = threading.Thread(target=lambda: during.update(load(cluster, seconds, "--warmup", "0")))
    driver.start()
    started = time.monotonic()
    cluster.ctl("balance", "shards")
    wait_for("a plan", lambda: plans(cluster), 30)
    wait_for("the end of the moves", lambda: plans(cluster)[-1]["state"] == "done", 600)
    took = time.monotonic() - started
    driver.join()
    return before, during, load(cluster, seconds), took


def pause_of_a_move(cluster, shard, to):
    first = shard["slots"][0]
    data = redis.Redis(port=cluster.nodes[1].resp, single_connection_client=True)
    key = next(k for k in (f"probe{i}" for i in range(10_000_000))
               if first <= data.execute_command("CLUSTER KEYSLOT", k) <= shard["slots"][1])
    slowest, stop, errors = [0.0], threading.Event(), []

    def probe():
        client = redis.Redis(port=cluster.nodes[2].resp, single_connection_client=True)
        n = 0
        while not stop.is_set():
            started = time.monotonic()
            try:
                client.set(key, n)
            except redis.RedisError as error:
                errors.append(repr(error))
            slowest[0] = max(slowest[0], time.monotonic() - started)
            n += 1

    thread = threading.Thread(target=probe)
    thread.start()
    cluster.ctl("shard", "move", str(shard["id"]), str(to), "--wait")
    stop.set()
    thread.join()
    assert not errors, errors[:3]
    return slowest[0] * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--move-rate", default="2MiB")
    arguments = parser.parse_args()
    with Cluster(3, flags=["--groups", "2", "--shards", "32", "--move-rate", arguments.move_rate]) as cluster:
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        cluster.wait_ready()
        load(cluster, 1, "--load", "--key-space", str(arguments.keys), "--pipeline", "32")
        before, during, after, took = grow(cluster, arguments.seconds)
        for name, seen in (("before", before), ("growing", during), ("grown", after)):
            print(f"{name:8} {seen['ops_per_second']:10.0f} requests/s   p99 {seen['writes']['p99_us'] / 1000:7.2f} ms   "
                  f"{seen['ops_per_second'] / before['ops_per_second']:.2f} of before; {seen.get('errors', 0)} errors")
        print(f"moves took {took:.1f} s of the {arguments.seconds:.0f} s of growing")
        pauses = []
        for i in range(arguments.moves):
            shard = shards(cluster)[i % 8]
            pauses.append(pause_of_a_move(cluster, shard, shard["group"] % 3 + 1))
        pauses.sort()
        print(f"pause of a moving shard, {len(pauses)} moves: median {statistics.median(pauses):.1f} ms, "
              f"p99 {pauses[min(len(pauses) - 1, len(pauses) * 99 // 100)]:.1f} ms, slowest {pauses[-1]:.1f} ms")


main()
