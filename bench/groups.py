"""What many Raft groups cost: an idle cluster of them, and writes that are spread over all of them.

Two clusters of three nodes side by side, one with a single group, one with --groups of them. First both are left alone,
and the processor time of each node is taken. Then a load driver writes to the one and to the other in turn, in rounds;
the ratio is of the medians.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

from systems import BIN, Cluster, wait_for

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of(cluster):
    return [cpu_seconds(node) for node in cluster.nodes]


def idle(clusters, seconds):
    """Cores that each node of each cluster uses while nobody asks anything."""
    before = [cpu_of(cluster) for cluster in clusters]
    time.sleep(seconds)
    after = [cpu_of(cluster) for cluster in clusters]
    return [[(b - a) / seconds for a, b in zip(x, y)] for x, y in zip(before, after)]


def write(cluster, seconds, connections, pipeline):
    # Through every node alike, so that as many writes of the one as of the other meet a node that does not lead.
    servers = ",".join(f"127.0.0.1:{node.resp}" for node in cluster.nodes)
    before = sum(cpu_of(cluster))
    done = subprocess.run([str(BIN / "fluxctl"), "--resp", servers, "-o", "json", "bench",
                           "--quiet", "--connections", str(connections), "--pipeline", str(pipeline),
                           "--read-ratio", "0", "--key-space", "1000000", "--seconds", str(seconds), "--warmup", "1"],
                          capture_output=True, text=True, timeout=600, check=True)
    result = json.loads(done.stdout)
    assert not result.get("errors"), result
    rate = result["ops_per_second"]
    return rate, (sum(cpu_of(cluster)) - before) / (rate * (seconds + 1)) * 1e6


def all_led(cluster):
    groups = json.loads(cluster.ctl("-o", "json", "group", "list"))
    return all(g["state"] == "serving" and g["settled"] >= g["changed"] for g in groups if g["id"] != 0)


def rests(cluster):
    """Whether every node leads what it should, and all groups idle."""
    wanted = {n["name"]: n["leaders"] for n in json.loads(cluster.ctl("-o", "json", "node", "list"))}
    for node in cluster.nodes:
        groups = [g for g in node.status()["groups"] if g["id"] != 0]
        if sum(g["role"] == "leader" for g in groups) != wanted[node.name] or not all(g["idle"] for g in groups):
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=20, help="seconds of doing nothing (20)")
    parser.add_argument("--seconds", type=float, default=6, help="of each round of writes (6)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--pipeline", type=int, default=1, help="writes under way on each connection (1)")
    arguments = parser.parse_args()
    with Cluster(3, flags=["--groups", "1", "--shards", "16"]) as one, \
            Cluster(3, flags=["--groups", str(arguments.groups), "--shards", str(arguments.groups)]) as many:
        wait_for("all groups", lambda: all_led(many), 120)
        wait_for("leaders where they should be, and nothing to do", lambda: rests(many), 120)
        for name, cores in zip(("one group", f"{arguments.groups} groups"), idle([one, many], arguments.idle)):
            print(f"idle, {name:12}  {' '.join(f'{100 * core:.2f}' for core in cores)} % of a core, node by node")
        load = (arguments.seconds, arguments.connections, arguments.pipeline)
        rounds = [(write(one, *load), write(many, *load)) for _ in range(arguments.rounds)]
        for i, name in enumerate(("one group", f"{arguments.groups} groups")):
            print(f"writes, {name:12}  {statistics.median(r[i][0] for r in rounds):8.0f} a second, "
                  f"{statistics.median(r[i][1] for r in rounds):6.1f} us of the servers' time each")
        ratio = statistics.median(r[1][0] for r in rounds) / statistics.median(r[0][0] for r in rounds)
        print(f"{ratio:.2f} of one group's rate")


main()
