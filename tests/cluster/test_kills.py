"""Goal: whatever is killed, whenever: every acknowledged write is there, no counter runs back or double."""
import random
import threading

import redis

from cluster import Cluster, wait_for

INDETERMINATE = "UNKNOWN"


class Writer(threading.Thread):
    """Writes through one node until told to stop, and remembers what was acknowledged.

    Each writer owns its keys. Of a write whose outcome is unknown (a lost connection, an UNKNOWN error) it remembers that
    it may or may not have happened.
    """

    def __init__(self, number, node, keys=20):
        super().__init__(daemon=True)
        self.number = number
        self.node = node
        self.keys = [f"w{number}:{i}" for i in range(keys)]
        self.acknowledged = {}  # key -> newest acknowledged value
        self.possible = {}      # key -> values that may have replaced it since
        self.counter_low = 0    # acknowledged increments
        self.counter_high = 0   # and those that may have happened
        self.errors = []
        self.stop = threading.Event()
        self.writes = 0

    def run(self):
        rng = random.Random(self.number)
        connection = None
        step = 0
        while not self.stop.is_set():
            try:
                if connection is None:
                    connection = redis.Redis(port=self.node.resp, socket_timeout=15, socket_connect_timeout=2,
                                             single_connection_client=True)
                step += 1
                self.write_one(connection, rng.choice(self.keys), f"{self.number}.{step}")
                if step % 5 == 0:
                    self.increment(connection)
                if step % 7 == 0:
                    self.check_one(connection, rng.choice(self.keys))
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                connection = None
                self.stop.wait(0.02)

    def write_one(self, connection, key, value):
        # Until it is answered, the write may have happened.
        self.possible.setdefault(key, []).append(value)
        try:
            connection.set(key, value)
        except redis.ResponseError as error:
            if not str(error).startswith(INDETERMINATE):
                self.possible[key].remove(value)  # definitely refused
            return
        # Earlier writes of unknown outcome stay possible: one may still be on its way to a leader.
        self.acknowledged[key] = value
        self.possible[key].remove(value)
        self.writes += 1

    def increment(self, connection):
        self.counter_high += 1
        try:
            connection.incr(f"w{self.number}:counter")
        except redis.ResponseError as error:
            if not str(error).startswith(INDETERMINATE):
                self.counter_high -= 1
            return
        self.counter_low += 1

    def check_one(self, connection, key):
        try:
            self.check_value(key, connection.get(key))
        except redis.ResponseError:
            pass  # a refused read tells nothing

    def check_value(self, key, value):
        text = None if value is None else value.decode()
        allowed = [self.acknowledged.get(key)] + self.possible.get(key, [])
        if text not in allowed:
            self.errors.append(f"{key} is {text!r}, may be {allowed}")
        elif text != self.acknowledged.get(key):
            # It did happen, and cannot happen again.
            self.acknowledged[key] = text
            self.possible[key].remove(text)

    def verify(self, connection):
        for key in self.keys:
            self.check_value(key, connection.get(key))
        counter = int(connection.get(f"w{self.number}:counter") or 0)
        if not self.counter_low <= counter <= self.counter_high:
            self.errors.append(f"counter {self.number} is {counter}, must be {self.counter_low} to {self.counter_high}")
        assert not self.errors, self.errors[:5]


def check_everywhere(cluster, writers):
    """Every value, through every node."""
    for node in cluster.running():
        connection = redis.Redis(port=node.resp, socket_timeout=15)
        for writer in writers:
            writer.verify(connection)


def run_with_kills(engine, rounds, fault):
    with Cluster(3, engine) as cluster:
        writers = [Writer(i, node) for i, node in enumerate(cluster.nodes * 2)]
        for writer in writers:
            writer.start()
        for number in range(rounds):
            before = sum(w.writes for w in writers)
            wait_for("writes before the fault", lambda: sum(w.writes for w in writers) > before + 200, 30)
            fault(cluster, number)
            cluster.wait_ready(30)
            before = sum(w.writes for w in writers)
            wait_for("writes after the fault", lambda: sum(w.writes for w in writers) > before + 50, 30)
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(30)
        cluster.wait_converged()
        check_everywhere(cluster, writers)
        print(f"   {sum(w.writes for w in writers)} acknowledged writes checked through every node")


def kill_leader(cluster, _):
    leader = cluster.leader()
    leader.kill()
    cluster.leader()
    leader.start()


def kill_follower(cluster, _):
    follower = cluster.follower()
    follower.kill()
    follower.start()


def kill_all(cluster, _):
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.start()


def pause_leader(cluster, _):
    leader = cluster.leader()
    leader.pause()
    others = [n for n in cluster.nodes if n is not leader]
    wait_for("a new leader", lambda: any(n.leads() for n in others))
    leader.resume()


def any_fault(cluster, number):
    [kill_leader, kill_all, kill_follower, pause_leader][number % 4](cluster, number)


def test_kill_the_leader_memory():
    run_with_kills("memory", 3, kill_leader)


test_kill_the_leader_memory.quick = True


def test_kill_everything_at_once_memory():
    run_with_kills("memory", 3, kill_all)


def test_kill_everything_at_once_rocksdb():
    run_with_kills("rocksdb", 3, kill_all)


def test_all_kinds_of_faults_memory():
    run_with_kills("memory", 8, any_fault)


def test_all_kinds_of_faults_rocksdb():
    run_with_kills("rocksdb", 8, any_fault)
