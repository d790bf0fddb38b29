"""Goal: what Redis answers, FluxKV answers. The same commands go to a real redis-server and to a cluster; replies are
compared byte for byte, but for what docs/differences.md names."""
import random
import socket
import subprocess
import tempfile

import redis

from cluster import Cluster, free_ports, wait_for

# Commands of several keys are those of Redis where all keys are in one group, however many workers there are.
ONE_GROUP = ["--groups", "1"]

# Each line is one command; the replies of both servers must be equal.
SESSION = r"""
PING
PING hi
ECHO hello
SELECT 0
SELECT 99999999999
SET a 1
GET a
get A
SET a 2 NX
SET b 2 NX
SET c 3 XX
SET a 5 XX GET
SET nope 5 XX GET
SET a 6 GET
SET a v EX 0
SET a v EX -1
SET a v EX abc
SET a v EX 10 PX 10
SET a v NX XX
SET a v FOO
SET a v EX
SET a 7 KEEPTTL
SET e v PXAT 99999999999999
PEXPIRETIME e
SET e v EXAT 9999999999
EXPIRETIME e
SET e v EXAT 1
GET e
SETNX s 1
SETNX s 2
SETEX s 100 v
TTL s
SETEX s 0 v
PSETEX s -5 v
GETSET s w
GETSET none w
GETDEL s
GETDEL s
GETEX a
GETEX a EX 100
TTL a
GETEX a PERSIST
TTL a
GETEX a FOO
GETEX a EX 0
MSET x 1 y 2 z 3
MGET x y none z
MSET x
MSET x 1 y
MSETNX x 1 n1 2
MSETNX n1 1 n2 2 n1 3
MGET n1 n2
DEL x y none
UNLINK z
EXISTS n1 n1 n2 none
TOUCH n1 n2 none
TYPE n1
TYPE none
STRLEN n1
STRLEN none
APPEND p abc
APPEND p def
GETRANGE p 1 3
GETRANGE p -3 -1
GETRANGE p 0 -1
GETRANGE p 5 1
GETRANGE p -1 -5
GETRANGE p 0 999999999999
GETRANGE none 0 -1
GETRANGE p a 1
SUBSTR p 0 1
SETRANGE p 1 XX
GET p
SETRANGE q 3 x
GET q
SETRANGE q -1 x
SETRANGE r 5 ""
EXISTS r
INCR i
INCRBY i 10
DECR i
DECRBY i 4
INCRBY i abc
INCR p
SET max 9223372036854775807
INCR max
DECRBY i -9223372036854775808
SET i " 1"
INCR i
INCRBYFLOAT f 10.5
INCRBYFLOAT f 0.1
INCRBYFLOAT f -1e1
INCRBYFLOAT f 5.0e3
INCRBYFLOAT f abc
INCRBYFLOAT p 1
INCRBYFLOAT f inf
SET f 3.0
INCRBYFLOAT f 1
EXPIRE a 100
EXPIRE a 50 GT
EXPIRE a 200 GT
EXPIRE a 100 LT
EXPIRE a 100 NX
EXPIRE a 100 XX
EXPIRE a 100 NX XX
EXPIRE a 100 GT LT
EXPIRE a 100 FOO
EXPIRE none 100
EXPIRE a abc
EXPIRE a 9999999999999999
PERSIST a
PERSIST a
PERSIST none
TTL a
TTL none
PTTL none
EXPIRETIME a
PEXPIREAT a 99999999999999
PEXPIRETIME a
EXPIREAT a 9999999999
EXPIRETIME a
EXPIRE a -1
EXISTS a
SET a 1
RENAME a a2
GET a2
RENAME none b
RENAMENX a2 n1
RENAMENX a2 a3
GET a3
RENAME a3 a3
COPY a3 a4
COPY a3 a4
COPY a3 a4 REPLACE
COPY none a4
COPY a3 a3
COPY a3 a5 DB 0
COPY a3 a5 FOO
SCAN abc
SCAN 0 COUNT 0
SCAN 0 COUNT abc
SCAN 0 FOO
DBSIZE
NOSUCHCOMMAND a b
GET
GET a b
SET a
CLIENT GETNAME
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME "a b"
CLIENT NO-EVICT on
CLIENT NO-EVICT foo
WAIT a 1
WAIT 1 -1
FLUSHDB
DBSIZE
SET bin "\x00\r\n\xff"
GET bin
FLUSHALL ASYNC
KEYS *
RANDOMKEY
"""


class Raw:
    """Sends a line as an inline command and returns the reply's bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, line):
        self.socket.sendall(line.encode("latin-1") + b"\r\n")
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if line[:1] == b"$" and line[1:-2] != b"-1":
            return line + self.file.read(int(line[1:-2]) + 2)
        if line[:1] == b"*" and line[1:-2] != b"-1":
            return line + b"".join(self.reply() for _ in range(int(line[1:-2])))
        return line


class RedisServer:
    def __enter__(self):
        (self.port,) = free_ports(1)
        self.dir = tempfile.TemporaryDirectory(prefix="fluxkv-redis-")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            try:
                return redis.Redis(port=self.port, socket_timeout=2).ping()
            except redis.ConnectionError:
                return False
        wait_for("redis-server", answers)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.dir.cleanup()


def test_answers_as_redis_does():
    with RedisServer() as theirs, Cluster(1, flags=ONE_GROUP) as cluster:
        redis_raw, flux_raw = Raw(theirs.port), Raw(cluster.nodes[0].resp)
        wrong = []
        lines = [line for line in SESSION.split("\n") if line.strip()]
        for line in lines:
            expected, got = redis_raw.send(line), flux_raw.send(line)
            if expected != got:
                wrong.append(f"{line}\n      redis  {expected}\n      fluxkv {got}")
        assert not wrong, f"{len(wrong)} of {len(lines)} differ:\n   " + "\n   ".join(wrong)
        print(f"   {len(lines)} commands answered as by redis-server")


test_answers_as_redis_does.quick = True


def random_command(rng):
    key = f"k{rng.randrange(8)}"
    other = f"k{rng.randrange(8)}"
    number = rng.choice(["0", "1", "-1", "5", "100", "9223372036854775807", "abc", "1.5", ""])
    return rng.choice([
        ["SET", key, number], ["SET", key, number, rng.choice(["NX", "XX", "GET", "KEEPTTL", "EX"])],
        ["GET", key], ["INCRBY", key, number], ["APPEND", key, number], ["STRLEN", key], ["DEL", key, other],
        ["GETRANGE", key, number, str(rng.randrange(-5, 5))], ["SETRANGE", key, str(rng.randrange(20)), number],
        ["RENAME", key, other], ["RENAMENX", key, other], ["COPY", key, other] + rng.choice([[], ["REPLACE"]]),
        ["MSET", key, "a", other, "b"], ["MSETNX", key, "a", other, "b"], ["MGET", key, other], ["EXISTS", key, other],
        ["GETDEL", key], ["GETSET", key, number], ["PERSIST", key], ["EXPIRE", key, rng.choice(["1000", "-1", "x"])],
        ["INCRBYFLOAT", key, number], ["TYPE", key], ["DBSIZE"],
        # Far apart, so that the two servers' clocks decide alike.
        ["EXPIRE", key, str(rng.randrange(1000, 10**9)), rng.choice(["GT", "LT", "NX", "XX"])],
    ])


def test_random_commands_answer_as_redis_does():
    """A differential fuzz: any sequence, one pipeline each."""
    with RedisServer() as theirs, Cluster(3, flags=ONE_GROUP) as cluster:
        for seed in range(40):
            rng = random.Random(seed)
            commands = [random_command(rng) for _ in range(100)]
            answers = []
            for port in (theirs.port, cluster.nodes[seed % 3].resp):
                connection = redis.Redis(port=port, socket_timeout=20)
                connection.flushall()
                pipeline = connection.pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                answers.append([str(a) for a in pipeline.execute(raise_on_error=False)])
            for command, expected, got in zip(commands, *answers):
                assert expected == got, f"seed {seed}: {command}: redis {expected}, fluxkv {got}"
        print("   4000 random commands answered as by redis-server")


def test_real_clients():
    """redis-benchmark and redis-cli as they come."""
    with Cluster(3, flags=ONE_GROUP) as cluster:
        port = str(cluster.nodes[1].resp)
        done = subprocess.run(["redis-benchmark", "-p", port, "-t", "ping,set,get,incr,mset", "-n", "2000", "-P", "8", "-q"],
                              capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.count("requests per second") >= 5, done.stdout
        text = subprocess.run(["redis-cli", "-p", port, "--scan", "--pattern", "key:*"], capture_output=True, text=True,
                              timeout=60, check=True).stdout
        assert text.count("key:") >= 1
        keys = redis.Redis(port=cluster.nodes[2].resp, decode_responses=True)
        pipeline = keys.pipeline(transaction=False)
        for i in range(3000):
            pipeline.set(f"scan:{i}", i)
        pipeline.execute()
        assert {f"scan:{i}" for i in range(3000)} == set(keys.scan_iter("scan:*", count=100))


def test_expiry_leaves_at_its_time_on_every_node():
    with Cluster(3) as cluster:
        connection = redis.Redis(port=cluster.nodes[0].resp)
        for i in range(200):
            connection.set(f"ttl:{i}", "v", px=300)
        assert connection.pttl("ttl:199") > 0
        for node in cluster.nodes:
            other = redis.Redis(port=node.resp)
            wait_for("expiry", lambda o=other: o.exists(*[f"ttl:{i}" for i in range(200)]) == 0, 5)
        wait_for("removal", lambda: connection.dbsize() == 0, 5)


def test_settings_change_while_the_server_runs():
    with Cluster(1, flags=["--workers", "3"]) as cluster:
        clients = [redis.Redis(port=cluster.nodes[0].resp) for _ in range(6)]
        for i, client in enumerate(clients):
            client.client_setname(f"client{i}")
        first = clients[0]
        # The connections lie on three loops, and each sees all of them.
        for client in clients:
            assert {f"client{i}" for i in range(6)} <= {c["name"] for c in client.client_list()}
        assert first.info("clients")["connected_clients"] == 6

        first.set("a", "1")
        assert first.config_set("maxmemory", "1kb")
        assert clients[3].config_get("maxmemory") == {"maxmemory": "1024"}
        # The node looks at its memory several times a second.
        wait_for("a refusal", lambda: refused(first, "OOM command not allowed when used memory", "SET", "b", "1"))
        assert first.get("a") == b"1" and first.delete("a") == 1
        assert first.config_set("maxmemory", "0")
        assert first.set("b", "1")
        assert first.config_set("loglevel", "debug") and first.config_get("loglevel") == {"loglevel": "debug"}
        first.set("b", "2")
        wait_for("debug lines", lambda: " D n1 " in cluster.nodes[0].log.read_text())
        assert first.config_set("maxclients", 6)
        with socket.create_connection(("127.0.0.1", cluster.nodes[0].resp), timeout=10) as one_more:
            assert one_more.recv(100) == b"-ERR max number of clients reached\r\n"
        for name, value, why in [("maxmemory", "lots", "argument must be a memory value"),
                                 ("maxmemory", "99999999999gb", "argument must be a memory value"),
                                 ("loglevel", "loud", "must be one of the following"),
                                 ("maxclients", "0", "must be a positive number"),
                                 ("port", "1", "can't set immutable config"),
                                 ("nonsense", "1", "Unknown option")]:
            assert refused(first, why, "CONFIG", "SET", name, value), (name, value)
        # All or nothing.
        assert refused(first, "must be one of", "CONFIG", "SET", "maxmemory", "5gb", "loglevel", "loud")
        assert first.config_get("maxmemory") == {"maxmemory": "0"}

        # A scan whose every step comes over another connection sees each key once.
        first.mset({f"{{tag}}{i}": i for i in range(300)})
        seen, cursor, step = [], 0, 0
        while step == 0 or cursor != 0:
            cursor, keys = clients[step % 6].scan(cursor, count=10)
            seen += keys
            step += 1
        assert sorted(seen) == sorted(first.keys("*")) and len(seen) == 301


def refused(client, why, *command):
    try:
        client.execute_command(*command)
    except redis.RedisError as error:
        assert why in str(error), (command, error)
        return True
    return False
