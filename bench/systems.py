"""The systems that are measured: each on free loopback ports, in a temporary folder, ended by process id."""
import base64
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import redis

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import BIN, Cluster, free_ports, http, wait_for  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
VALUE_BYTES = 128
MASK = (1 << 64) - 1

# Whoever ends a measurement early ends the servers as well: context managers run on the way out.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def key(rank):
    """The 16 bytes the drivers name a key by."""
    return b"key:%012d" % rank


def value_pool():
    """The bytes that values are cut from: xoshiro256** with seed 1, as in main/ctl/bench_values.h."""
    state, seed = [], 1
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        state.append(z ^ z >> 31)

    def rotated(x, k):
        return (x << k | x >> (64 - k)) & MASK
    pool = bytearray()
    while len(pool) < 65536 + VALUE_BYTES:
        pool += (rotated(state[1] * 5 & MASK, 7) * 9 & MASK).to_bytes(8, "little")
        t = state[1] << 17 & MASK
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= t
        state[3] = rotated(state[3], 45)
    return bytes(pool)


POOL = value_pool()


def value(rank):
    """The value the drivers write to key(rank)."""
    at = rank * 40503 % 65536
    return POOL[at:at + VALUE_BYTES]


def cpu_seconds(pids):
    """User and system time of processes until now."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def machine_seconds():
    """(busy, stolen, all) processor seconds of the machine until now."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, idle, wait, irq, soft_irq, steal = (f / TICK for f in fields)
    busy = user + nice + system + irq + soft_irq
    return busy, steal, busy + steal + idle + wait


def port_closed(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def run_driver(command):
    """(result, client CPU seconds) of a load driver that prints JSON."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    after = os.times()
    if done.returncode != 0:
        raise SystemExit(f"the load failed: {' '.join(command)}: {done.stderr}")
    result = json.loads(done.stdout)
    if result["errors"]:
        raise SystemExit(f"{result['errors']} errors: {' '.join(command)}: {result['first_error']}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return result, spent


class System:
    """Use as a context manager. Subclasses fill `processes` and `ports`."""

    def __enter__(self):
        self.processes, self.ports = [], []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fluxkv-bench-"))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for port in self.ports:
            wait_for(f"closed port {port}", lambda p=port: port_closed(p))
        shutil.rmtree(self.dir)

    def pids(self):
        return [p.pid for p in self.processes]

    def variants(self, flags):
        """The ways to drive one load, of which the best counts."""
        return [flags]

    def verify(self, key_space, samples=300):
        """Reads keys through every node and compares."""
        for rank in random.sample(range(key_space), min(samples, key_space)):
            for found in self.read_everywhere(key(rank)):
                if found != value(rank):
                    raise SystemExit(f"{type(self).__name__}: {key(rank)} is {found!r}, not what was written")


class RespSystem(System):
    def drive(self, flags):
        command = [str(BIN / "fluxctl"), "--resp", f"127.0.0.1:{self.port}", "-o", "json", "bench", "--quiet"]
        return run_driver(command + flags)

    def clients(self):
        return [redis.Redis(port=port) for port in self.resp_ports]

    def read_everywhere(self, name):
        if not hasattr(self, "open_clients"):
            self.open_clients = self.clients()
        return [client.get(name) for client in self.open_clients]


class Redis(RespSystem):
    def __init__(self, flags):
        self.flags = flags

    def start(self):
        (self.port,) = self.ports = self.resp_ports = free_ports(1)
        self.spawn()
        wait_for("redis-server", lambda: not port_closed(self.port))

    def spawn(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.processes = [subprocess.Popen(command + ["--dir", str(self.dir)] + self.flags, stdout=subprocess.DEVNULL)]


class Flux(RespSystem):
    """Driven through its leader."""

    def __init__(self, size, flags=(), engine="memory"):
        self.cluster = Cluster(size, engine, flags)

    def __enter__(self):
        self.cluster.__enter__()
        self.port = self.cluster.leader().resp
        self.resp_ports = [n.resp for n in self.cluster.nodes]
        return self

    def pids(self):
        return [n.process.pid for n in self.cluster.nodes if n.process]

    def __exit__(self, *arguments):
        self.cluster.__exit__(*arguments)
        for port in self.resp_ports:
            wait_for(f"closed port {port}", lambda p=port: port_closed(p))


def json_call(port, path, body):
    """A call of etcd's JSON gateway; the answer, or None."""
    code, text = http("POST", port, path, body)
    return json.loads(text) if code == 200 else None


class Etcd(System):
    """Three members. The best of two ways to drive it counts: the leader alone, all members."""

    def __init__(self, environment=()):
        self.environment = dict(environment)

    def start(self):
        ports = free_ports(6)
        self.client_ports, self.peer_ports = ports[:3], ports[3:]
        self.ports = ports
        self.processes = [self.spawn(i) for i in range(3)]
        self.leader = wait_for("an etcd leader", self.leaders, 30)[0]

    def spawn(self, number):
        client = f"http://127.0.0.1:{self.client_ports[number]}"
        peers = [f"http://127.0.0.1:{port}" for port in self.peer_ports]
        command = ["etcd", "--name", f"m{number}", "--data-dir", str(self.dir / f"m{number}"),
                   "--listen-client-urls", client, "--advertise-client-urls", client,
                   "--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number],
                   "--initial-cluster", ",".join(f"m{i}={url}" for i, url in enumerate(peers)),
                   "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"]
        with open(self.dir / f"m{number}.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.environment})

    def status(self, number):
        if self.processes[number].poll() is not None:
            return None
        return json_call(self.client_ports[number], "/v3/maintenance/status", {})

    def leaders(self):
        """The number of the member that all running members take for the leader, in a list; empty without one."""
        named, found = set(), []
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                continue
            status = self.status(number) or {}
            named.add(status.get("leader"))
            if "leader" in status and status["leader"] == status["header"]["member_id"]:
                found.append(number)
        return found if len(named) == 1 else []

    def variants(self, flags):
        """The load with etcd's best connection counts; where requests may be pipelined, pipelined or not."""
        def with_shape(connections, pipeline, everywhere):
            ports = self.client_ports if everywhere else [self.client_ports[self.leader]]
            rest = strip(strip(flags, "--connections"), "--pipeline")
            return ["--endpoints", ",".join(f"127.0.0.1:{p}" for p in ports),
                    "--connections", str(connections), "--pipeline", str(pipeline)] + rest
        if value_of(flags, "--connections") == "1":
            shapes = [(1, 1)]
        elif "--pipeline" in flags:
            shapes = [(64, 16), (300, 4), (1000, 1)]
        else:
            shapes = [(64, 1), (300, 1), (1000, 1)]
        return [with_shape(*shape, everywhere) for shape in shapes for everywhere in (False, True)]

    def drive(self, flags):
        if "--endpoints" not in flags:
            flags = ["--endpoints", f"127.0.0.1:{self.client_ports[self.leader]}"] + flags
        return run_driver([str(BIN / "etcd_load")] + flags)

    def read_everywhere(self, name):
        body = {"key": base64.b64encode(name).decode()}
        for port in self.client_ports:
            answer = json_call(port, "/v3/kv/range", body)
            yield base64.b64decode(answer["kvs"][0]["value"]) if answer and "kvs" in answer else None


def value_of(flags, name):
    return flags[flags.index(name) + 1] if name in flags else None


def strip(flags, name):
    if name not in flags:
        return flags
    at = flags.index(name)
    return flags[:at] + flags[at + 2:]


class Watch:
    """What a measurement cost: CPU of the servers and shares of the machine that went elsewhere."""

    def __init__(self, system):
        self.system = system
        self.servers, self.machine, self.began = cpu_seconds(system.pids()), machine_seconds(), time.monotonic()

    def stop(self, client_seconds):
        self.seconds = time.monotonic() - self.began
        self.server_seconds = cpu_seconds(self.system.pids()) - self.servers
        busy, steal, total = (now - then for now, then in zip(machine_seconds(), self.machine))
        self.steal = steal / total
        # Busy time that neither the servers nor the driver account for: other programs, and the kernel on its own.
        self.others = max(busy - self.server_seconds - client_seconds, 0) / total
        return self
