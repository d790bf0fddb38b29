"""Clusters of real fluxkv processes on loopback: free ports, temporary folders, ended by process id.

Waiting is always for an observed state, with a deadline; no test sleeps and hopes.
"""
import contextlib
import json
import logging
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

logging.disable(logging.CRITICAL)  # clients log what they recover from

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("FLUX_BIN", ROOT / "build/release/bin"))


def free_ports(count):
    """Ports that were free a moment ago, all different; below those that the system gives to outgoing connections, which
    could take one before its server listens."""
    with contextlib.ExitStack() as stack:
        ports = []
        while len(ports) < count:
            s = stack.enter_context(socket.socket())
            port = random.randrange(12000, 32000)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def wait_for(what, condition, seconds=20.0):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds} s")
        time.sleep(0.01)


def http(method, port, path, body=None, timeout=5):
    """(status, text) of a request; status 0 when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Node:
    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.peer, self.resp, self.http, self.wire = free_ports(4)
        self.data = cluster.dir / name
        self.log = cluster.dir / f"{name}.log"
        self.process = None
        self.extra = []
        self.founds = True        # one of the first members
        self.environment = {}     # beside our own
        self.before_exec = None   # runs in the child before it becomes the server

    def command(self):
        flags = ["server", "--name", self.name, "--data-dir", str(self.data),
                 "--listen-peer", f"127.0.0.1:{self.peer}", "--listen-resp", f"127.0.0.1:{self.resp}",
                 "--listen-http", f"127.0.0.1:{self.http}", "--listen-wire", f"127.0.0.1:{self.wire}",
                 "--engine", self.cluster.engine]
        founders = self.cluster.founders if self.founds else []
        return ([str(BIN / "fluxkv")] + flags + founders + self.cluster.flags + self.cluster.general_flags() +
                self.extra)

    def start(self):
        assert self.process is None
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, preexec_fn=self.before_exec,
                                            env={**os.environ, **self.environment})
        return self

    def kill(self):
        """SIGKILL: nothing is flushed, nobody is told."""
        self.end(signal.SIGKILL)

    def terminate(self, seconds=15):
        """SIGTERM: drains; returns the exit code."""
        return self.end(signal.SIGTERM, seconds)

    def end(self, number, seconds=15):
        process, self.process = self.process, None
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        return process.wait(seconds)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def status(self):
        code, text = http("GET", self.http, "/status", timeout=2)
        return json.loads(text) if code == 200 else None

    def group(self):
        """The first group that holds data; group 0 is the controller's."""
        status = self.status()
        return next((g for g in status["groups"] if g["id"] != 0), None) if status else None

    def ready(self):
        return http("GET", self.http, "/readyz", timeout=2)[0] == 200

    def leads(self):
        group = self.group()
        return bool(group) and group["role"] == "leader"


class Cluster:
    """Use as a context manager; a failure keeps the folder and says where it is."""

    def __init__(self, size=3, engine="memory", flags=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fluxkv-test-"))
        self.engine = engine
        self.nodes = [Node(self, f"n{i + 1}") for i in range(size)]
        self.flags = list(flags)
        self.founders = []
        if size > 1:
            self.founders = ["--initial-cluster", ",".join(f"{n.name}=127.0.0.1:{n.peer}" for n in self.nodes)]

    def general_flags(self):
        """FLUX_TEST_FLAGS, "--flag value ...", for all clusters but where a test says otherwise."""
        words = os.environ.get("FLUX_TEST_FLAGS", "").split()
        pairs = zip(words[::2], words[1::2])
        return [word for pair in pairs if pair[0] not in self.flags for word in pair]

    def __enter__(self):
        for node in self.nodes:
            node.start()
        self.wait_ready()
        return self

    def __exit__(self, kind, value, trace):
        for node in self.nodes:
            if node.process:
                node.kill()
        if kind is None:
            shutil.rmtree(self.dir)
        else:
            print(f"   data and logs are kept in {self.dir}")
            for node in self.nodes:
                lines = node.log.read_text(errors="replace").split("\n") if node.log.exists() else []
                print("\n".join(f"   {node.name}| {line}" for line in lines[-15:]))

    def running(self):
        return [node for node in self.nodes if node.process]

    def wait_ready(self, seconds=20):
        for node in self.running():
            wait_for(f"readiness of {node.name}", lambda n=node: n.ready() or self.died(n), seconds)

    def died(self, node):
        if node.process.poll() is not None:
            raise AssertionError(f"{node.name} ended with {node.process.returncode}")
        return False

    def leader(self, seconds=10):
        return wait_for("leader", lambda: next((n for n in self.running() if n.leads()), None), seconds)

    def follower(self):
        leader = self.leader()
        return next(n for n in self.running() if n is not leader)

    def ctl(self, *arguments, ok=True, seconds=60, through=None):
        """What fluxctl prints; of a command that must fail what it complains about."""
        endpoints = ",".join(f"127.0.0.1:{n.http}" for n in through or self.running())
        done = subprocess.run([str(BIN / "fluxctl"), "--endpoints", endpoints, *arguments], capture_output=True,
                              text=True, timeout=seconds)
        assert (done.returncode == 0) == ok, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout if ok else done.stderr

    def join(self, name):
        """Adds a node to the running cluster and starts it."""
        node = Node(self, name)
        self.ctl("node", "add", f"{name}=127.0.0.1:{node.peer}")
        members = ",".join(f"127.0.0.1:{n.peer}" for n in self.running())
        node.founds = False
        node.extra = ["--join", members]
        self.nodes.append(node.start())
        return node

    def wait_converged(self, seconds=30):
        """All running nodes have applied the same index and nothing is left to apply."""
        def same():
            groups = [g for g in (n.group() for n in self.running()) if g]
            if not groups:
                return False
            return len({g["applied_index"] for g in groups}) == 1 and all(
                g["applied_index"] == g["commit_index"] for g in groups)
        wait_for("convergence", same, seconds)
