"""Interleaved rounds of one load on several systems; medians, ratios in the same run, server CPU per operation."""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import BIN, Cluster, free_ports, wait_for  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


class Redis:
    def __init__(self, flags):
        self.flags = flags

    def __enter__(self):
        (self.port,) = free_ports(1)
        self.dir = tempfile.mkdtemp(prefix="fluxkv-bench-")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir] + self.flags,
            stdout=subprocess.DEVNULL)
        wait_for("redis-server", lambda: subprocess.run(["redis-cli", "-p", str(self.port), "ping"],
                                                        capture_output=True).stdout == b"PONG\n")
        return self

    def pids(self):
        return [self.process.pid]

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


class Flux:
    def __init__(self, size, flags=()):
        self.cluster = Cluster(size, flags=flags)

    def __enter__(self):
        self.cluster.__enter__()
        self.port = self.cluster.leader().resp
        return self

    def pids(self):
        return [n.process.pid for n in self.cluster.nodes]

    def __exit__(self, *arguments):
        self.cluster.__exit__(*arguments)


SYSTEMS = {
    "redis": lambda: Redis(["--appendonly", "no"]),
    "redis-always": lambda: Redis(["--appendonly", "yes", "--appendfsync", "always"]),
    "fluxkv-3": lambda: Flux(3),
    "fluxkv-3-lease": lambda: Flux(3, ["--read-consistency", "lease"]),
    "fluxkv-1": lambda: Flux(1),
}
LOADS = {
    "set-c50-p1": ["--connections", "50", "--read-ratio", "0"],
    "set-c64-p16": ["--connections", "64", "--pipeline", "16", "--read-ratio", "0"],
    "get-c50-p1": ["--connections", "50", "--read-ratio", "1"],
    "get-c50-p16": ["--connections", "50", "--pipeline", "16", "--read-ratio", "1"],
    "set-c1-p1": ["--connections", "1", "--read-ratio", "0"],
}


def drive(port, arguments):
    done = subprocess.run([str(BIN / "fluxctl"), "--resp", f"127.0.0.1:{port}", "-o", "json", "bench", "--quiet"] + arguments,
                          capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"the load failed: {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    results = {}
    for number in range(options.rounds):
        for name, make in SYSTEMS.items():
            with make() as system:
                drive(system.port, ["--load", "--pipeline", "16", "--connections", "16"])
                for load, flags in LOADS.items():
                    if options.pattern not in load:
                        continue
                    before, began = cpu_seconds(system.pids()), time.monotonic()
                    result = drive(system.port, flags + ["--seconds", str(options.seconds), "--warmup", "0.5"])
                    spent, took = cpu_seconds(system.pids()) - before, time.monotonic() - began
                    latency = result["writes"] if result["writes"]["count"] else result["reads"]
                    if result["errors"]:
                        raise SystemExit(f"{name} {load}: {result['errors']} errors: {result['first_error']}")
                    results.setdefault((load, name), []).append({
                        "ops": result["ops_per_second"], "p50": latency["p50_us"], "p99": latency["p99_us"],
                        "cpu_us": spent * 1e6 / max(result["ops_per_second"] * took, 1)})
            print(f"round {number + 1}/{options.rounds}: {name}", file=sys.stderr, flush=True)
    print(f"medians of {options.rounds} rounds of {options.seconds} s; 16 B keys, 128 B values, 100,000 keys\n")
    print(f"{'load':<13}{'system':<16}{'ops/s':>9}{'min':>9}{'max':>9}{'/redis':>8}{'p50 us':>8}{'p99 us':>8}{'cpu us/op':>11}")
    for load in LOADS:
        for name in SYSTEMS:
            rounds = results.get((load, name))
            if not rounds:
                continue
            base = results[(load, "redis")]
            ratio = statistics.median(mine["ops"] / theirs["ops"] for mine, theirs in zip(rounds, base))
            middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
            ops = [r["ops"] for r in rounds]
            print(f"{load:<13}{name:<16}{middle['ops']:>9.0f}{min(ops):>9.0f}{max(ops):>9.0f}{ratio:>8.2f}{middle['p50']:>8.0f}"
                  f"{middle['p99']:>8.0f}{middle['cpu_us']:>11.1f}")


main()
