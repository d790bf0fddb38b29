"""Interleaved rounds of one load on several systems; medians, ratios in the same run, CPU per operation."""
import argparse
import os
import statistics
import sys
import time

from systems import BIN, Etcd, Flux, Redis, Watch, machine_seconds, value_of

STEAL_MAX = 0.02  # of the machine's time; a measurement with more is taken again
OTHERS_MAX = 0.1  # likewise, for the CPU time of other programs, with --alone
KEY_SPACE = 100_000
SLOW_SYNC_US = 2000

SYSTEMS = {
    "redis": lambda: Redis(["--appendonly", "no"]),
    "redis-always": lambda: Redis(["--appendonly", "yes", "--appendfsync", "always"]),
    "etcd-3": Etcd,
    "etcd-3-1proc": lambda: Etcd({"GOMAXPROCS": "1"}),
    "fluxkv-3": lambda: Flux(3),
    "fluxkv-3-lease": lambda: Flux(3, ["--read-consistency", "lease"]),
    "fluxkv-1": lambda: Flux(1),
}
LOADS = {
    "set-c50-p1": ["--connections", "50", "--read-ratio", "0"],
    "set-c128-p1": ["--connections", "128", "--read-ratio", "0"],
    "set-c64-p16": ["--connections", "64", "--pipeline", "16", "--read-ratio", "0"],
    "get-c50-p1": ["--connections", "50", "--read-ratio", "1"],
    "get-c50-p16": ["--connections", "50", "--pipeline", "16", "--read-ratio", "1"],
    "set-c1-p1": ["--connections", "1", "--read-ratio", "0"],
}


def shape_of(flags):
    """How a load was driven, in words."""
    shape = f"{value_of(flags, '--connections')} connections of {value_of(flags, '--pipeline') or 1} requests"
    members = value_of(flags, "--endpoints")
    return shape + (", all members" if members and "," in members else ", the leader" if members else "")


def wait_until_alone():
    """Until other programs use few of the machine's processors."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        before = machine_seconds()
        time.sleep(0.5)
        busy, _, total = (now - then for now, then in zip(machine_seconds(), before))
        if busy <= OTHERS_MAX * total:
            return
    raise SystemExit("other programs keep the machine busy")


def measure(system, name, flags, alone):
    """One measurement; again when the host, or with `alone` other programs, took too much of the machine meanwhile."""
    for _ in range(20):
        if alone:
            wait_until_alone()
        watch = Watch(system)
        result, client_seconds = system.drive(flags)
        watch.stop(client_seconds)
        if watch.steal <= STEAL_MAX and not (alone and watch.others > OTHERS_MAX):
            break
        print(f"{name}: {watch.steal:.1%} steal, {watch.others:.1%} others' CPU: measured again", file=sys.stderr,
              flush=True)
    else:
        raise SystemExit("too much of the machine goes elsewhere")
    latency = result["writes"] if result["writes"]["count"] else result["reads"]
    done = max(result["ops_per_second"] * watch.seconds, 1)
    return {"ops": result["ops_per_second"], "p50": latency["p50_us"], "p99": latency["p99_us"],
            "cpu_us": watch.server_seconds * 1e6 / done, "client_us": client_seconds * 1e6 / done,
            "steal": watch.steal, "others": watch.others, "shape": shape_of(flags)}


def run_round(options, results):
    for name, make in SYSTEMS.items():
        if name not in options.systems:
            continue
        with make() as system:
            system.drive(["--load", "--pipeline", "16", "--connections", "16", "--key-space", str(KEY_SPACE)])
            cache = {}  # loads that are driven in the same ways have the same figures
            for load, flags in LOADS.items():
                if options.pattern not in load:
                    continue
                timed = flags + ["--seconds", str(options.seconds), "--warmup", str(options.warmup),
                                 "--key-space", str(KEY_SPACE)]
                ways = system.variants(timed)
                if str(ways) not in cache:
                    cache[str(ways)] = [measure(system, f"{name} {load}", way, options.alone) for way in ways]
                taken = cache[str(ways)]
                best = max(taken, key=lambda r: r["ops"])
                results.setdefault((load, name), []).append(best)
                if options.verbose and len(taken) > 1:
                    for each in taken:
                        print(f"  {name} {load}: {each['ops']:.0f} ops/s, {each['shape']}", file=sys.stderr)
                print(f"  {name} {load}: {best['ops']:.0f} ops/s, steal {best['steal']:.1%}, others' CPU "
                      f"{best['others']:.1%}", file=sys.stderr, flush=True)
            system.verify(KEY_SPACE)


def ratio(rounds, peer):
    """The median of the ratios within each round."""
    return f"{statistics.median(a['ops'] / b['ops'] for a, b in zip(rounds, peer)):.2f}" if peer else "-"


def report(options, results):
    disk = f"; every sync {SLOW_SYNC_US / 1000:.0f} ms longer" if options.slow_disk else ""
    print(f"medians of {options.rounds} rounds of {options.seconds} s; {KEY_SPACE} keys of 16 B, 128 B values{disk}\n")
    heads = {"ops/s": 8, "min": 8, "max": 8, "/redis": 8, "/always": 9, "/etcd": 8, "p50 us": 8, "p99 us": 8,
             "cpu us/op": 11, "client": 8}
    print(f"{'load':<13}{'system':<15}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for load in LOADS:
        for name in SYSTEMS:
            rounds = results.get((load, name))
            if not rounds:
                continue
            middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0] if k != "shape"}
            ops = [r["ops"] for r in rounds]
            cells = [f"{middle['ops']:.0f}", f"{min(ops):.0f}", f"{max(ops):.0f}",
                     *(ratio(rounds, results.get((load, peer))) for peer in ("redis", "redis-always", "etcd-3")),
                     f"{middle['p50']:.0f}", f"{middle['p99']:.0f}", f"{middle['cpu_us']:.1f}",
                     f"{middle['client_us']:.1f}"]
            print(f"{load:<13}{name:<15}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, heads.values())))
    worst = {k: max(r[k] for rounds in results.values() for r in rounds) for k in ("steal", "others")}
    print(f"\nmost steal {worst['steal']:.1%}, most CPU used by others {worst['others']:.1%}, of the machine")
    for load in LOADS:
        for shape in sorted({r["shape"] for r in results.get((load, "etcd-3"), [])}):
            print(f"etcd-3 was best at {load} with {shape}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="part of the names of the loads to run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--systems", default=",".join(name for name in SYSTEMS if name != "etcd-3-1proc"),
                        help="names with commas between")
    parser.add_argument("--verbose", action="store_true", help="print each way etcd was driven")
    parser.add_argument("--alone", action="store_true",
                        help=f"wait until other programs use less than {OTHERS_MAX:.0%}% of the machine")
    parser.add_argument("--slow-disk", action="store_true",
                        help=f"syncs take {SLOW_SYNC_US / 1000:.0f} ms longer; without etcd, which calls no library")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    unknown = set(options.systems) - set(SYSTEMS)
    if unknown:
        parser.error(f"no such system: {', '.join(sorted(unknown))}")
    if options.slow_disk:
        options.systems = [name for name in options.systems if name != "etcd-3"]
        os.environ.update(LD_PRELOAD=str(BIN / "slow_sync.so"), SLOW_SYNC_US=str(SLOW_SYNC_US))
    results = {}
    for number in range(options.rounds):
        run_round(options, results)
        print(f"round {number + 1}/{options.rounds}", file=sys.stderr, flush=True)
    report(options, results)


main()
