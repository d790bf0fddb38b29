"""Starts three nodes, shows on real data what FluxKV does, and stays up until Ctrl-C.

The data is the package index every Debian machine has: key = package name, value = its record.
"""
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import BIN, http, wait_for  # noqa: E402

DATA = ROOT / "build/run"
BATCH = 200


class Resp:
    """A pipelining RESP client of a few lines; nothing but the standard library."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.settimeout(10)
        self.file = self.socket.makefile("rb")

    def call(self, *commands):
        """Sends commands (lists of bytes) in one go and returns their replies; an error reply is an Exception."""
        request = b"".join(b"*%d\r\n" % len(c) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in c) for c in commands)
        self.socket.sendall(request)
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        return [self.reply() for _ in range(int(rest))]


class Node:
    def __init__(self, number):
        self.name = f"n{number}"
        self.resp, self.http, self.peer, self.wire = 6378 + number, 8378 + number, 7379 + number, 7369 + number
        self.process = None

    def start(self):
        founders = ",".join(f"n{i}=127.0.0.1:{7379 + i}" for i in (1, 2, 3))
        DATA.mkdir(parents=True, exist_ok=True)
        with open(DATA / f"{self.name}.log", "ab") as log:
            # A session of its own, so that Ctrl-C reaches us first and we can stop it in good order.
            self.process = subprocess.Popen(
                [str(BIN / "fluxkv"), "server", "--name", self.name, "--data-dir", str(DATA / self.name),
                 "--listen-peer", f"127.0.0.1:{self.peer}", "--listen-resp", f"127.0.0.1:{self.resp}",
                 "--listen-http", f"127.0.0.1:{self.http}", "--listen-wire", f"127.0.0.1:{self.wire}",
                 "--initial-cluster", founders],
                stdout=log, stderr=log, start_new_session=True)

    def ready(self):
        if self.process.poll() is not None:
            tail = (DATA / f"{self.name}.log").read_text(errors="replace").strip().split("\n")[-1]
            raise SystemExit(f"Node {self.name} did not start: {tail}")
        return http("GET", self.http, "/readyz")[0] == 200

    def leads(self):
        return '"role": "leader"' in http("GET", self.http, "/status")[1]


def progress(done, total, started):
    width = 30
    filled = width * done // total
    rate = done / max(time.monotonic() - started, 0.001)
    print(f"\r   [{'#' * filled}{'.' * (width - filled)}] {done}/{total}, {rate:.0f} writes/s", end="", flush=True)


def package_records():
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    for record in text.split(b"\n\n"):
        if record.startswith(b"Package: "):
            yield record.split(b"\n", 1)[0][9:], record


def load(nodes, records):
    print(f"Loading {len(records)} package records (key: package name, value: its record) ...")
    client, started = Resp(nodes[0].resp), time.monotonic()
    for at in range(0, len(records), BATCH):
        batch = records[at:at + BATCH]
        for reply in client.call(*[[b"SET", b"package:" + name, record] for name, record in batch]):
            if reply != b"OK":
                raise SystemExit(f"\n   a write failed: {reply}")
        progress(min(at + BATCH, len(records)), len(records), started)
    print()


def show_reads(nodes):
    client = Resp(nodes[1].resp)
    print("Reading one back through another node: GET package:redis-server")
    (value,) = client.call([b"GET", b"package:redis-server"])
    for line in (value or b"(not in this machine's index)").decode(errors="replace").split("\n")[:4]:
        print(f"   {line[:100]}")
    print("Scanning for package:python3-re*")
    cursor, found = b"0", []
    while True:
        ((cursor, keys),) = client.call([b"SCAN", cursor, b"MATCH", b"package:python3-re*", b"COUNT", b"5000"])
        found += keys
        if cursor == b"0":
            break
    print(f"   {len(found)} keys, like {', '.join(k.decode() for k in sorted(found)[:4])}")


def kill_the_leader(nodes):
    leader = next(n for n in nodes if n.leads())
    other = next(n for n in nodes if n is not leader)
    print(f"Writing through {other.name} while the leader, {leader.name}, is killed with SIGKILL ...")
    client, acknowledged, unknown, longest, last = Resp(other.resp), 0, 0, 0.0, time.monotonic()
    started, killed = last, False
    while time.monotonic() - started < 4:
        if not killed and time.monotonic() - started > 1:
            leader.process.kill()
            leader.process.wait()
            killed = True
        (reply,) = client.call([b"INCR", b"demo:counter"])
        now = time.monotonic()
        if isinstance(reply, int):
            acknowledged += 1
            longest = max(longest, now - last)
            last = now
        else:
            unknown += 1
    print(f"   {acknowledged} increments acknowledged, {unknown} with an unknown outcome; writes paused for "
          f"{longest * 1000:.0f} ms")
    (counter,) = client.call([b"GET", b"demo:counter"])
    first = int(counter) - acknowledged
    if not 0 <= first - BEFORE <= unknown:
        raise SystemExit(f"   the counter is {counter}, which does not fit: this is a bug")
    print(f"   the counter stands at {int(counter)}: nothing is lost, nothing counted twice")
    leader.start()
    wait_for(f"return of {leader.name}", leader.ready)
    print(f"   {leader.name} is back and has caught up")
    return leader


BEFORE = 0


def check_all(node, records):
    print(f"Comparing every record with what was loaded, through {node.name}, the node that was killed ...")
    client, wrong = Resp(node.resp), 0
    for at in range(0, len(records), BATCH):
        batch = records[at:at + BATCH]
        values = client.call([b"MGET"] + [b"package:" + name for name, _ in batch])[0]
        wrong += sum(1 for (_, record), value in zip(batch, values) if value != record)
    print(f"   {len(records) - wrong} of {len(records)} are as they were loaded")
    if wrong:
        raise SystemExit("   this is a bug")


def demonstrate(nodes):
    global BEFORE
    newest = {name: record for name, record in package_records()}
    records = sorted(newest.items())
    if not records:
        print("This machine's package index is empty (apt-get update fills it); the demonstration is left out.")
        return
    load(nodes, records)
    show_reads(nodes)
    (counter,) = Resp(nodes[0].resp).call([b"GET", b"demo:counter"])
    BEFORE = int(counter or 0)
    check_all(kill_the_leader(nodes), records)


def main():
    nodes = [Node(i) for i in (1, 2, 3)]
    for node in nodes:
        node.start()
    try:
        for node in nodes:
            wait_for(f"readiness of {node.name}", node.ready, 60)
        print(f"   three nodes are up; data and logs are in {DATA.relative_to(ROOT)}")
        if "--quick" not in sys.argv:
            demonstrate(nodes)
        print("\nThe cluster stays up. Any node takes any command:\n")
        for node in nodes:
            print(f"   {node.name}   redis-cli -p {node.resp}      http://127.0.0.1:{node.http}/status")
        print(f"\n   {BIN.relative_to(ROOT)}/fluxctl status\n   redis-cli -p {nodes[0].resp} set hello world\n"
              f"   redis-cli -p {nodes[1].resp} get hello\n"
              f"   {BIN.relative_to(ROOT)}/hello_fluxkv 127.0.0.1:{nodes[0].wire}    (examples/hello.cc)\n\nCtrl-C stops it; the data stays.", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        print("\nStopping.")
    finally:
        for node in nodes:
            if node.process and node.process.poll() is None:
                node.process.terminate()
        for node in nodes:
            if node.process:
                try:
                    node.process.wait(20)
                except subprocess.TimeoutExpired:
                    node.process.kill()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped.")
