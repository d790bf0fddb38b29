"""What clients notice of shards that move: throughput while a cluster grows by a group and shrinks again, and the pause
of a moving shard.

Six nodes, two groups on the first three; --keys keys of 128 bytes, so many that moves last about as long as the load. A
load driver runs before, again while a third group on the other three nodes gets its share of the shards, once it has,
and while that group is taken away again; this --rounds times. What is lost once all has moved is the price of more nodes
on the same cores, not of moves. Then single shards move to and fro under a client of their own, which writes keys of
that shard one after the other: the slowest of its writes during a move is the move's pause. What it would have been
without the move, the slowest of the half second before tells.
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
    # Through the first three nodes alike: through one of them, ever more requests would be passed on as leaders spread.
    servers = ",".join(f"127.0.0.1:{node.resp}" for node in cluster.nodes[:3])
    done = subprocess.run([str(BIN / "fluxctl"), "--resp", servers, "-o", "json", "bench", "--quiet", "--connections", "32",
                           "--read-ratio", "0.5", "--seconds", str(seconds), *more],
                          capture_output=True, text=True, timeout=600, check=True)
    return json.loads(done.stdout)


def plans(cluster):
    return json.loads(cluster.ctl("-o", "json", "plan", "list"))


def shards(cluster):
    return json.loads(cluster.ctl("-o", "json", "shard", "list"))


def while_it_moves(cluster, seconds, *command):
    """What the load driver sees while the plan that a command leads to is carried out, and for how long that was."""
    known = len(plans(cluster))
    seen = {}
    driver = threading.Thread(target=lambda: seen.update(load(cluster, seconds)))
    driver.start()
    started = time.monotonic()
    cluster.ctl(*command)
    # Rarely: each look starts a process, on the cores that are measured.
    while len(now := plans(cluster)) == known or any(p["state"] not in ("done", "cancelled") for p in now):
        time.sleep(0.5)
    took = time.monotonic() - started
    driver.join()
    return seen, took


def group_ids(cluster, state):
    return [g["id"] for g in json.loads(cluster.ctl("-o", "json", "group", "list")) if g["state"] == state]


def add_group(cluster):
    """A group on the other three nodes, without shards until something is moved."""
    cluster.ctl("balance", "off")
    known = group_ids(cluster, "serving")
    cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
    (new,) = wait_for("the new group", lambda: set(group_ids(cluster, "serving")) - set(known), 30)
    return new


def round_of(cluster, seconds):
    """The phases of one round, by name, and for how long shards moved in two of them."""
    before = load(cluster, seconds)
    new = add_group(cluster)
    growing, grew = while_it_moves(cluster, seconds, "balance", "shards")
    grown = load(cluster, seconds)
    shrinking, shrank = while_it_moves(cluster, seconds, "group", "remove", str(new), "--yes")
    wait_for("the end of the group", lambda: new not in group_ids(cluster, "serving"), 60)
    return {"before": before, "growing": growing, "grown": grown, "shrinking": shrinking}, (grew, shrank)


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
    try:
        time.sleep(0.5)
        at_rest, slowest[0] = slowest[0], 0.0
        cluster.ctl("shard", "move", str(shard["id"]), str(to), "--wait")
    finally:
        stop.set()
        thread.join()
    assert not errors, errors[:3]
    return slowest[0] * 1000, at_rest * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=400_000)
    parser.add_argument("--seconds", type=float, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--move-rate", default="16MiB")
    arguments = parser.parse_args()
    with Cluster(3, flags=["--groups", "2", "--shards", "32", "--move-rate", arguments.move_rate]) as cluster:
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        cluster.wait_ready()
        load(cluster, 1, "--load", "--key-space", str(arguments.keys), "--pipeline", "32")
        rounds = [round_of(cluster, arguments.seconds) for _ in range(arguments.rounds)]
        for name in rounds[0][0]:
            phases = [phases for phases, _ in rounds]
            rate = statistics.median(p[name]["ops_per_second"] for p in phases)
            ratio = statistics.median(p[name]["ops_per_second"] / p["before"]["ops_per_second"] for p in phases)
            p99 = statistics.median(p[name]["writes"]["p99_us"] for p in phases) / 1000
            print(f"{name:9} {rate:8.0f} requests/s   p99 {p99:6.2f} ms   {ratio:.2f} of before   "
                  f"{sum(p[name].get('errors', 0) for p in phases)} errors")
        for name, i in (("growing", 0), ("shrinking", 1)):
            print(f"{name}: shards moved for {' '.join(f'{took[i]:.1f}' for _, took in rounds)} of {arguments.seconds:.0f} s")
        seen = []
        groups = [1, 2, add_group(cluster)]
        for i in range(arguments.moves):
            shard = shards(cluster)[i % 8]
            seen.append(pause_of_a_move(cluster, shard, groups[(groups.index(shard["group"]) + 1) % 3]))
        for name, values in (("pause of a moving shard", [p for p, _ in seen]), ("of one at rest", [r for _, r in seen])):
            values.sort()
            print(f"{name}, {len(values)} times: median {statistics.median(values):.1f} ms, "
                  f"p99 {values[min(len(values) - 1, len(values) * 99 // 100)]:.1f} ms, slowest {values[-1]:.1f} ms")


main()
