"""A million keys, or as many as asked for, on each engine, and redis-server with an append-only file: load, memory, disk, restart, read back."""
import argparse
import pathlib
import random
import sys
import time

import redis

from systems import BIN, Flux, Redis, key, run_driver, value

KEYS = 1_000_000  # unless --keys says otherwise
SAMPLES = 20_000


def rss_bytes(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def disk_bytes(folder):
    """Allocated bytes by the first folder or file below."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            top = path.relative_to(folder).parts[0]
            found[top] = found.get(top, 0) + path.stat().st_blocks * 512
    return found


def first_read(port):
    """True once the server serves a key that was loaded."""
    try:
        return redis.Redis(port=port, socket_timeout=5).get(key(KEYS - 1)) == value(KEYS - 1)
    except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
        return False  # not up yet, or still loading


def verify(port, name):
    """DBSIZE, and the values of random keys."""
    client = redis.Redis(port=port)
    if client.dbsize() != KEYS:
        raise SystemExit(f"{name}: {client.dbsize()} keys, not {KEYS}")
    ranks = random.sample(range(KEYS), SAMPLES)
    for at in range(0, SAMPLES, 500):
        pipeline = client.pipeline(transaction=False)
        batch = ranks[at:at + 500]
        for rank in batch:
            pipeline.get(key(rank))
        if pipeline.execute() != [value(rank) for rank in batch]:
            raise SystemExit(f"{name}: a key is lost or has another value")


def measure(name, system, port, folder, kill, start, ready):
    """Loads, looks, kills, starts again, compares. `folder`: the data of one node."""
    def load():
        began = time.monotonic()
        run_driver([str(BIN / "fluxctl"), "--resp", f"127.0.0.1:{port()}", "-o", "json", "bench", "--quiet", "--load",
                    "--connections", "64", "--pipeline", "16", "--key-space", str(KEYS)])
        return time.monotonic() - began

    def memory():
        sizes = [rss_bytes(pid) for pid in system.pids()]
        return max(sizes), redis.Redis(port=port()).info("memory")["used_memory"]

    row = {"system": name, "empty_rss": memory()[0], "load": load()}
    verify(port(), name)
    row["rss"], row["used"] = memory()
    row["disk"] = disk_bytes(folder)
    began = time.monotonic()
    kill()
    row["kill"] = time.monotonic() - began
    began = time.monotonic()
    start()
    row["read"] = row["ready"] = None
    deadline = began + 300
    while row["read"] is None or row["ready"] is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name}: does not serve 300 s after it was started again")
        if row["read"] is None and first_read(port()):
            row["read"] = time.monotonic() - began
        if row["ready"] is None and ready():
            row["ready"] = time.monotonic() - began
        time.sleep(0.005)
    verify(port(), name)
    row["rss_after"], row["used_after"] = memory()
    print(f"  {name}: done", file=sys.stderr, flush=True)
    return row


def fluxkv(engine, nodes):
    with Flux(nodes, engine=engine) as system:
        cluster = system.cluster
        leader = cluster.leader()

        def kill():
            for node in cluster.nodes:
                node.kill()

        def start():
            for node in cluster.nodes:
                node.start()

        return measure(f"fluxkv-{nodes} {engine}", system, lambda: leader.resp, leader.data, kill, start,
                       lambda: all(n.ready() for n in cluster.nodes))


def redis_peer(fsync):
    with Redis(["--appendonly", "yes", "--appendfsync", fsync]) as system:
        def kill():
            system.processes[0].kill()
            system.processes[0].wait()

        return measure(f"redis {fsync}", system, lambda: system.port, system.dir, kill, system.spawn, lambda: True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1, help="of a FluxKV cluster, killed and started together")
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--systems", nargs="+", default=["redis", "memory", "rocksdb"],
                        choices=["redis", "memory", "rocksdb"], help="redis-server, and FluxKV's engines")
    options = parser.parse_args()
    globals()["KEYS"] = options.keys
    rows = [redis_peer("always") if system == "redis" else fluxkv(system, options.nodes) for system in options.systems]
    print(f"{KEYS} keys of 16 B with values of 128 B; memory is of the largest node, disk of one\n")
    heads = {"load s": 8, "RSS MB": 8, "B/key": 7, "used MB": 9, "disk MB": 9, "read s": 8, "ready s": 9,
             "RSS then": 10, "used then": 11}
    print(f"{'system':<18}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for row in rows:
        cells = [f"{row['load']:.1f}", f"{row['rss'] / 1e6:.0f}", f"{(row['rss'] - row['empty_rss']) / KEYS:.0f}",
                 f"{row['used'] / 1e6:.0f}", f"{sum(row['disk'].values()) / 1e6:.0f}", f"{row['read']:.2f}",
                 f"{row['ready']:.2f}" if "redis" not in row["system"] else "-", f"{row['rss_after'] / 1e6:.0f}",
                 f"{row['used_after'] / 1e6:.0f}"]
        print(f"{row['system']:<18}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, heads.values())))
    print("\nB/key: growth of the resident memory; used: by INFO memory; read, ready: from the start after SIGKILL to\n"
          "the first served read and to /readyz of all nodes; then: after that start. DBSIZE and a sample of values\n"
          "were right before the kill and after the start.")
    for row in rows:
        parts = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sorted(row["disk"].items()) if size > 500_000)
        print(f"disk of {row['system']} in MB: {parts}")


main()
