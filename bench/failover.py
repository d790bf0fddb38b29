"""Leader kill to first acknowledged write, for fluxkv-3 and etcd-3.

Writes of new keys start every few milliseconds through a member that survives, each on an idle connection, none with a
time limit of its own: a write that got stuck in the old leader does not hold back the next. Counted is the time from
the signal to the first answer to a write that was sent when the leader was already gone. Afterwards every acknowledged
write must be there. --silent stops the leader (SIGSTOP) instead of killing it: its connections stay open, and nothing
tells the others that it is gone.
"""
import argparse
import asyncio
import base64
import json
import signal
import statistics
import sys
import time

import redis

from systems import Etcd, Flux, json_call, wait_for

INTERVAL = 0.005  # between two writes
GIVE_UP = 30


class FluxSide:
    def __init__(self):
        self.system = Flux(3)

    def choose(self):
        """Remembers the leader; returns the port of another member."""
        self.leader = self.system.cluster.leader()
        return next(n for n in self.system.cluster.nodes if n is not self.leader).resp

    def still_leads(self):
        return self.leader.leads()

    def kill(self):
        self.leader.kill()

    def restart(self):
        self.leader.start()

    def pause(self):
        self.leader.pause()

    def resume(self):
        self.leader.resume()

    def wait_ready(self):
        self.system.cluster.wait_ready()
        self.system.cluster.leader()

    async def write(self, reader, writer, key):
        writer.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(key), key))
        return (await reader.readline()).startswith(b"+OK")

    def read(self, key):
        return redis.Redis(port=self.system.cluster.nodes[0].resp, single_connection_client=True).get(key)


class EtcdSide:
    """Over etcd's JSON gateway, on kept connections."""

    def __init__(self):
        self.system = Etcd()

    def choose(self):
        self.leader = wait_for("an etcd leader", self.system.leaders, GIVE_UP)[0]
        return self.system.client_ports[(self.leader + 1) % 3]

    def still_leads(self):
        return self.system.leaders() == [self.leader]

    def kill(self):
        self.system.processes[self.leader].kill()
        self.system.processes[self.leader].wait()

    def restart(self):
        self.system.processes[self.leader] = self.system.spawn(self.leader)

    def pause(self):
        self.system.processes[self.leader].send_signal(signal.SIGSTOP)

    def resume(self):
        self.system.processes[self.leader].send_signal(signal.SIGCONT)

    def wait_ready(self):
        wait_for("three etcd members", lambda: all(self.system.status(i) for i in range(3)), GIVE_UP)
        wait_for("an etcd leader", self.system.leaders, GIVE_UP)

    async def write(self, reader, writer, key):
        text = base64.b64encode(key).decode()
        body = json.dumps({"key": text, "value": text}).encode()
        writer.write(b"POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        ok = b" 200 " in await reader.readline()
        length = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if length == 0:
            raise ConnectionError("closed, or an answer of unknown length")
        await reader.readexactly(length)
        return ok

    def read(self, key):
        answer = json_call(self.system.client_ports[0], "/v3/kv/range", {"key": base64.b64encode(key).decode()})
        return base64.b64decode(answer["kvs"][0]["value"]) if answer and "kvs" in answer else None


class Writers:
    """A new write every INTERVAL; remembers what was acknowledged and when."""

    def __init__(self, side, port, name):
        self.side, self.port, self.name = side, port, name
        self.idle, self.tasks = [], set()
        self.acknowledged = []  # (sent, answered, key)

    async def run(self, done):
        number = 0
        while not done():
            number += 1
            task = asyncio.create_task(self.one(b"%b:%d" % (self.name, number)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            await asyncio.sleep(INTERVAL)
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for _, writer in self.idle:
            writer.close()

    async def one(self, key):
        connection = self.idle.pop() if self.idle else None
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
            sent = time.monotonic()
            ok = await self.side.write(*connection, key)
        except OSError:
            return
        if ok:
            self.acknowledged.append((sent, time.monotonic(), key))
        self.idle.append(connection)


async def one_round(side, number, silent):
    """Seconds from the kill to the first acknowledged write."""
    writers = Writers(side, side.choose(), b"r%d" % number)
    killed = dead = None

    def answers():
        return [answered for sent, answered, _ in writers.acknowledged if dead and sent > dead]

    def done():
        if killed and time.monotonic() > killed + GIVE_UP:
            raise RuntimeError(f"no write for {GIVE_UP} s after the leader was killed")
        return bool(answers())

    running = asyncio.create_task(writers.run(done))
    while len(writers.acknowledged) < 100:
        if not side.still_leads():
            raise RuntimeError("the leader changed before it was killed; the machine is too busy to measure this")
        if running.done():
            running.result()
        await asyncio.sleep(0.01)
    killed = time.monotonic()
    side.pause() if silent else side.kill()
    dead = time.monotonic()
    await running
    side.resume() if silent else side.restart()
    side.wait_ready()
    for _, _, key in writers.acknowledged:
        if side.read(key) != key:
            raise RuntimeError(f"{key} was acknowledged and is lost")
    return min(answers()) - killed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--silent", action="store_true", help="stop the leader instead of killing it")
    options = parser.parse_args()
    results = {"fluxkv-3": [], "etcd-3": []}
    for name, make in (("fluxkv-3", FluxSide), ("etcd-3", EtcdSide)):
        side = make()
        with side.system:
            for number in range(options.rounds):
                results[name].append(asyncio.run(one_round(side, number, options.silent)))
                print(f"  {name} round {number + 1}: {results[name][-1] * 1000:.0f} ms", file=sys.stderr, flush=True)
    fault = "SIGSTOP" if options.silent else "SIGKILL"
    print(f"{fault} of the leader to the first acknowledged write, {options.rounds} rounds, in milliseconds\n")
    print(f"{'system':<12}{'median':>8}{'min':>8}{'max':>8}")
    for name, seconds in results.items():
        print(f"{name:<12}" + "".join(f"{f(seconds) * 1000:>8.0f}" for f in (statistics.median, min, max)))
    ratio = statistics.median(results["fluxkv-3"]) / statistics.median(results["etcd-3"])
    print(f"\nfluxkv-3 takes {ratio:.2f} of etcd-3's time (medians)")


main()
