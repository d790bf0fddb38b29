"""Goal: a cluster grows, shrinks and rebalances while clients go on: none of them sees an error, and nothing is lost."""
import json
import random
import threading
import time

import redis
from redis.cluster import RedisCluster

from cluster import Cluster, wait_for
from test_kills import Writer, check_everywhere


def view(cluster):
    return json.loads(cluster.ctl("-o", "json", "group", "list"))


def spread(cluster):
    """Shards of each group that holds data, by its id."""
    return {g["id"]: g["shards"] for g in view(cluster) if g["id"] != 0 and g["state"] != "gone"}


def settled(cluster):
    groups = [g for g in view(cluster) if g["id"] != 0 and g["state"] != "gone"]
    return all(g["state"] == "serving" and g["settled"] >= g["changed"] for g in groups)


def running_plans(cluster):
    return [p for p in json.loads(cluster.ctl("-o", "json", "plan", "list")) if p["state"] == "running"]


class Checked(threading.Thread):
    """Writes and reads through one connection, and takes no error for an answer."""

    def __init__(self, number, connect):
        super().__init__(daemon=True)
        self.number, self.connect = number, connect
        self.newest, self.problems, self.pauses = {}, [], []
        self.requests = 0
        self.stop = threading.Event()

    def run(self):
        rng = random.Random(self.number)
        client = self.connect()
        while not self.stop.is_set() and len(self.problems) < 10:
            key = f"c{self.number}:{rng.randrange(200)}"
            self.requests += 1
            started = time.monotonic()
            try:
                client.set(key, self.requests)
                self.newest[key] = self.requests
                seen = client.get(key)
                if seen != str(self.requests).encode():
                    self.problems.append(f"{key} is {seen}, not {self.requests}")
            except Exception as error:  # whatever a client says is one
                self.problems.append(f"{key}: {error!r}")
            self.pauses.append(time.monotonic() - started)


def check(cluster, clients, connect=None):
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive()
        assert not client.problems, client.problems[:5]
        assert client.requests > 50, client.requests
    for node in cluster.running():
        data = (connect or plain)(node.resp)
        for client in clients:
            for key, value in client.newest.items():
                assert data.get(key) == str(value).encode(), (node.name, key, value, data.get(key))
    pauses = sorted(p for client in clients for p in client.pauses)
    return sum(c.requests for c in clients), pauses[-1], pauses[len(pauses) * 99 // 100]


def plain(port):
    return redis.Redis(port=port, socket_timeout=20)


def of_redis_cluster(port):
    return RedisCluster(host="127.0.0.1", port=port)


def grow_and_shrink(flags, connect):
    with Cluster(3, flags=["--groups", "2"] + flags) as cluster:
        clients = [Checked(i, lambda port=n.resp: connect(port)) for i, n in enumerate(cluster.nodes)]
        for client in clients:
            client.start()
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        cluster.wait_ready()
        cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
        cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
        wait_for("an even spread over four groups", lambda: sorted(spread(cluster).values()) == [8, 8, 8, 8], 60)
        wait_for("the end of the rebalancing", lambda: not running_plans(cluster), 30)
        for group in (3, 4):
            cluster.ctl("group", "remove", str(group), "--yes", "--wait")
        wait_for("two groups with everything", lambda: spread(cluster) == {1: 16, 2: 16} and settled(cluster), 30)
        for name in ("n4", "n5", "n6"):
            cluster.ctl("node", "drain", name, "--yes", "--wait")
            cluster.ctl("node", "remove", name, "--yes")
        for node in cluster.nodes[3:]:
            node.kill()
        requests, slowest, p99 = check(cluster, clients, connect)
        print(f"   {requests} requests, no error; slowest {slowest * 1000:.0f} ms, p99 {p99 * 1000:.1f} ms")


def test_grows_from_three_to_six_and_back_under_plain_clients():
    grow_and_shrink([], plain)


def test_grows_from_three_to_six_and_back_under_clients_of_redis_cluster():
    grow_and_shrink(["--resp-cluster", "yes"], of_redis_cluster)


def replicas(cluster):
    """What each node has that was not removed, by its name."""
    nodes = json.loads(cluster.ctl("-o", "json", "node", "list"))
    return {n["name"]: n["replicas"] for n in nodes if n["state"] != "removed"}


def test_a_cluster_grows_and_heals_by_itself():
    """Only nodes are added: groups, replicas, leaders and shards come to them. And all leave one that stays away."""
    with Cluster(3, flags=["--workers", "2", "--lost-after", "3s"]) as cluster:
        clients = [Checked(i, lambda port=n.resp: plain(port)) for i, n in enumerate(cluster.nodes)]
        for client in clients:
            client.start()
        assert spread(cluster) == {1: 16, 2: 16}
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        wait_for("four groups with a quarter each", lambda: sorted(spread(cluster).values()) == [8, 8, 8, 8], 60)
        wait_for("two replicas at each node", lambda: set(replicas(cluster).values()) == {2} and settled(cluster), 60)
        wait_for("the end of the rebalancing", lambda: not running_plans(cluster), 30)
        requests, slowest, p99 = check(cluster, clients)
        print(f"   {requests} requests, no error; slowest {slowest * 1000:.0f} ms, p99 {p99 * 1000:.1f} ms")
        writers = [Writer(i, cluster.nodes[i]) for i in range(3)]
        for writer in writers:
            writer.start()
        away = cluster.nodes[4:]
        for node in reversed(away):
            node.kill()
            wait_for(f"what {node.name} had at others", lambda n=node: replicas(cluster)[n.name] == 0, 60)
            wait_for("the end of the rebalancing", lambda: not running_plans(cluster), 30)
        assert "active, lost" in cluster.ctl("node", "list")
        # Two of three voters were on the two that are away; the next one is survived as well.
        cluster.nodes[3].kill()
        wait_for("leaders of all groups", lambda: all(g["leader"] for g in view(cluster) if g["state"] == "serving"), 30)
        for node in cluster.nodes[3:]:
            node.start()
        wait_for("two replicas at each node", lambda: set(replicas(cluster).values()) == {2}, 60)
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(60)
        cluster.wait_ready()
        wait_for("the end of the rebalancing", lambda: not running_plans(cluster) and settled(cluster), 30)
        check_everywhere(cluster, writers)


def test_shards_move_while_nodes_are_killed():
    with Cluster(3, flags=["--groups", "2", "--shards", "8"]) as cluster:
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        cluster.wait_ready()
        cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
        writers = [Writer(i, cluster.nodes[i % 3]) for i in range(4)]
        for writer in writers:
            writer.start()
        rng = random.Random(5)
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            victim = rng.choice(cluster.running())
            shard = json.loads(cluster.ctl("-o", "json", "shard", "list"))
            pick = rng.choice(shard)
            # It may be moving already, or its group may have no leader just now.
            try:
                cluster.ctl("shard", "move", str(pick["id"]), str(rng.choice([g for g in (1, 2, 3) if g != pick["group"]])))
            except AssertionError:
                pass
            victim.kill()
            victim.start()
            wait_for(f"readiness of {victim.name}", lambda n=victim: n.ready(), 20)
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(60)
        cluster.wait_ready()
        wait_for("settled groups", lambda: settled(cluster), 30)
        check_everywhere(cluster, writers)
        print(f"   {sum(w.writes for w in writers)} acknowledged writes checked through every node")


def test_a_storm_of_groups_that_come_and_go():
    with Cluster(3, flags=["--groups", "2", "--shards", "12"]) as cluster:
        clients = [Checked(i, lambda p=cluster.nodes[i].resp: redis.Redis(port=p, socket_timeout=20)) for i in range(3)]
        for client in clients:
            client.start()
        for round_ in range(4):
            cluster.ctl("group", "add")
            wait_for("shards of the new group", lambda: spread(cluster).get(3 + round_, 0) >= 3, 30)
            wait_for("the end of the rebalancing", lambda: not running_plans(cluster), 30)
            cluster.ctl("group", "remove", str(3 + round_), "--yes", "--wait")
        requests, slowest, p99 = check(cluster, clients)
        print(f"   {requests} requests, no error; slowest {slowest * 1000:.0f} ms, p99 {p99 * 1000:.1f} ms")


class Busy(threading.Thread):
    """Writes the same few keys as fast as it can."""

    def __init__(self, port, keys):
        super().__init__(daemon=True)
        self.port, self.keys = port, keys
        self.rounds, self.problem = 0, None
        self.stop = threading.Event()

    def run(self):
        try:
            client = plain(self.port)
            while not self.stop.is_set():
                pipeline = client.pipeline(transaction=False)
                for key in self.keys:
                    pipeline.set(key, self.rounds + 1)
                pipeline.execute()
                self.rounds += 1
        except Exception as error:  # whatever a client says is one
            self.problem = repr(error)


def test_a_hot_spot_is_split_and_its_load_spread():
    with Cluster(3, flags=["--groups", "2", "--shards", "2", "--split-rate", "500"]) as cluster:
        cluster.ctl("balance", "load")
        data = plain(cluster.nodes[0].resp)
        shards = json.loads(cluster.ctl("-o", "json", "shard", "list"))
        hot = next(s for s in shards if s["group"] == 1)
        keys = (f"k{i}" for i in range(100_000))
        slot = lambda key: data.execute_command("CLUSTER", "KEYSLOT", key)
        keys = [key for key, _ in zip((k for k in keys if hot["slots"][0] <= slot(k) <= hot["slots"][1]), range(200))]
        busy = Busy(cluster.nodes[1].resp, keys)
        busy.start()

        def owners():
            assert busy.problem is None, busy.problem
            now = json.loads(cluster.ctl("-o", "json", "shard", "list"))
            return {s["group"] for s in now for key in keys if s["slots"][0] <= slot(key) <= s["slots"][1]}

        wait_for("a spread of what was hot over both groups", lambda: owners() == {1, 2}, 60)
        cluster.ctl("balance", "off")
        wait_for("settled groups", lambda: settled(cluster) and not running_plans(cluster), 30)
        busy.stop.set()
        busy.join(30)
        assert busy.problem is None, busy.problem
        for node in cluster.running():
            values = set(plain(node.resp).mget(keys))
            assert values == {str(busy.rounds).encode()}, (node.name, values, busy.rounds)
        count = len(json.loads(cluster.ctl("-o", "json", "shard", "list")))
        assert count > 2, count
        print(f"   2 shards became {count}; {busy.rounds * len(keys)} writes, no error")


class Scanner(threading.Thread):
    """Walks a range keyspace again and again, a page through each node in turn: what was loaded comes once, in order."""

    def __init__(self, ports, expected):
        super().__init__(daemon=True)
        self.connections = [keyspace(port, "ordered") for port in ports]
        self.expected = expected
        self.walks, self.problems = 0, []
        self.stop = threading.Event()

    def run(self):
        while not self.stop.is_set() and not self.problems:
            found, start, page = [], b"k", 0
            while start is not None:
                try:
                    start, items = self.connections[page % len(self.connections)].execute_command(
                        "FLUX.SCAN", start, "l", "COUNT", "1000")
                except Exception as error:  # whatever a client says is one
                    self.problems.append(repr(error))
                    return
                found += items
                page += 1
            if found != self.expected:
                self.problems.append(f"{len(found)} keys, {len(set(found))} of them different")
            self.walks += 1


def keyspace(port, name):
    """A client whose connections work in a keyspace."""
    client = redis.Redis(port=port, socket_timeout=20, single_connection_client=True)
    client.execute_command("SELECT", name)
    return client


def test_keys_in_order_are_scanned_while_their_shards_move():
    with Cluster(3, flags=["--groups", "2"]) as cluster:
        cluster.wait_ready()
        cluster.ctl("balance", "off")
        cluster.ctl("keyspace", "create", "ordered", "--kind", "range", "--split-at", "k5")
        cluster.ctl("keyspace", "create", "7", "--replication", "3")
        ports = [node.resp for node in cluster.running()]
        wait_for("the keyspace at every node",
                 lambda: all("ordered" in cluster.ctl("keyspace", "list", through=[node]) for node in cluster.running()))
        expected = [f"k{i:05}".encode() for i in range(20_000)]
        loader = keyspace(ports[0], "ordered")
        for at in range(0, len(expected), 500):
            loader.mset({key: key for key in expected[at:at + 500]})
        numbered = redis.Redis(port=ports[1], db=7)
        numbered.set("k00000", "of another keyspace")
        assert redis.Redis(port=ports[0]).get("k00000") is None
        scanners = [Scanner(ports, expected) for _ in range(2)]
        writers = [Checked(100 + i, lambda: keyspace(ports[2], "ordered")) for i in range(2)]
        for thread in scanners + writers:
            thread.start()
        shard = {s["start"]: s["id"] for s in json.loads(cluster.ctl("-o", "json", "shard", "list"))
                 if s["keyspace"] == "ordered"}
        for at in ("k1", "k2", "k7", "k00500"):  # at keys that exist, and at none
            wait_for("rest", lambda: settled(cluster))
            left = max(start for start in shard if start <= at)
            cluster.ctl("shard", "split", str(shard[left]), at)
            shard = {s["start"]: s["id"] for s in json.loads(cluster.ctl("-o", "json", "shard", "list"))
                     if s["keyspace"] == "ordered"}
        for _ in range(2):
            for each in json.loads(cluster.ctl("-o", "json", "shard", "list")):
                if each["keyspace"] == "ordered":
                    cluster.ctl("shard", "move", str(each["id"]), str(3 - each["group"]), "--wait")
        wait_for("whole walks", lambda: all(s.walks >= 3 or s.problems for s in scanners), 60)
        for scanner in scanners:
            scanner.stop.set()
            scanner.join(60)
            assert not scanner.problems, scanner.problems
        check(cluster, writers, lambda port: keyspace(port, "ordered"))
        assert keyspace(ports[1], "ordered").dbsize() == len(expected) + sum(len(w.newest) for w in writers)
        values = cluster.ctl("scan", "-k", "ordered", "k0000", "--values").splitlines()
        assert values == [f"k{i:05}\tk{i:05}" for i in range(10)], values
        known = redis.Redis(port=ports[1]).info("keyspace")
        assert known["fluxkv_keyspace_ordered"]["keys"] > len(expected) and known["db7"]["keys"] == 1, known
        cluster.ctl("keyspace", "drop", "7", "--yes")
        wait_for("the end of the keyspace", lambda: refused(ports[1], "SELECT", "7"))
        try:
            numbered.get("k00000")
            raise AssertionError("a keyspace that was dropped still answers")
        except redis.ResponseError as error:
            assert "dropped" in str(error) or "DB index" in str(error), error


def refused(port, *words):
    try:
        redis.Redis(port=port).execute_command(*words)
        return False
    except redis.ResponseError:
        return True


def test_what_cannot_be_is_refused_in_words():
    with Cluster(3, flags=["--groups", "2", "--shards", "4"]) as cluster:
        shard = json.loads(cluster.ctl("-o", "json", "shard", "list"))[0]
        own, other = shard["group"], 3 - shard["group"]
        assert "already" in cluster.ctl("shard", "move", str(shard["id"]), str(own), ok=False)
        assert "there is no group 9" in cluster.ctl("shard", "move", str(shard["id"]), "9", ok=False)
        assert "there is no shard 99" in cluster.ctl("shard", "move", "99", "1", ok=False)
        cluster.ctl("group", "remove", str(other), "--yes", "--wait")
        assert "last group" in cluster.ctl("group", "remove", str(own), "--yes", ok=False)
        assert "counts on node" in cluster.ctl("node", "remove", "n2", "--yes", ok=False)
        assert "no other node that is heard can take" in cluster.ctl("node", "drain", "n2", "--yes", ok=False)
        # Of two administrators who looked at the same configuration the second one is told so.
        number = json.loads(cluster.ctl("-o", "json", "config", "show"))["config_num"]
        cluster.ctl("node", "add", "n8=127.0.0.1:1", "--expect", str(number))
        assert "by now" in cluster.ctl("node", "add", "n9=127.0.0.1:2", "--expect", str(number), ok=False)

        # Keyspaces, and what plans may do at once.
        cluster.ctl("keyspace", "create", "orders", "--kind", "range", "--split-at", "m")
        assert "there is a keyspace orders" in cluster.ctl("keyspace", "create", "orders", ok=False)
        assert "letters, digits" in cluster.ctl("keyspace", "create", "a b", ok=False)
        assert "another name of the default" in cluster.ctl("keyspace", "create", "0", ok=False)
        assert "stays" in cluster.ctl("keyspace", "drop", "default", "--yes", ok=False)
        assert "there is no keyspace nope" in cluster.ctl("keyspace", "drop", "nope", "--yes", ok=False)
        assert "--yes" in cluster.ctl("keyspace", "drop", "orders", ok=False)
        assert "not in order" in cluster.ctl("scan", "--start", "a", ok=False)
        assert "there is no keyspace 'nope'" in cluster.ctl("get", "-k", "nope", "a", ok=False)
        data = plain(cluster.running()[0].resp)
        for words, error in ((("SELECT", "nope"), "there is no keyspace 'nope'"), (("SELECT", "5"), "DB index"),
                             (("FLUX.SCAN", "a", "b"), "needs a range keyspace"),
                             (("COPY", "a", "b", "DB", "orders"), "within its keyspace")):
            try:
                data.execute_command(*words)
                raise AssertionError(f"{words} is taken")
            except redis.ResponseError as refusal:
                assert error in str(refusal), (words, refusal)
        assert "1 to 1000" in cluster.ctl("plan", "limits", "--moves", "0", ok=False)
        cluster.ctl("plan", "limits", "--moves", "20")
        limits = json.loads(cluster.ctl("-o", "json", "plan", "limits"))
        assert limits == {"moves": 20, "moves_per_group": 2, "member_changes": 4}, limits
