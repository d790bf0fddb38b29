"""Goal: operators' days, good and bad: members, drains, wrong flags, foreign directories, garbage on every port."""
import json
import os
import pathlib
import shutil
import socket
import subprocess

import redis

from cluster import BIN, Cluster, Node, http, wait_for


def ctl(cluster, *arguments, ok=True):
    return cluster.ctl(*arguments, ok=ok)


def test_members_come_and_go():
    with Cluster(3) as cluster:
        data = redis.Redis(port=cluster.nodes[0].resp)
        for i in range(500):
            data.set(f"k{i}", i)
        new = cluster.join("n4")
        assert "is called 'n4' already" in ctl(cluster, "node", "add", "n4=127.0.0.1:1", ok=False)
        cluster.wait_ready()
        assert redis.Redis(port=new.resp).get("k499") == b"499"
        # Restarted without --join: it knows who it is.
        new.kill()
        new.extra = []
        new.start()
        cluster.wait_ready()
        leader = cluster.leader()
        # Without --yes nothing happens; a node that groups count on is not removed.
        assert "nothing was changed" in ctl(cluster, "node", "replace", leader.name, "n4", ok=False)
        ctl(cluster, "node", "remove", leader.name, "--yes", ok=False)
        # Those who stay are asked: whoever goes may not hear how it ends.
        cluster.ctl("node", "replace", leader.name, "n4", "--yes", "--wait",
                    through=[n for n in cluster.running() if n is not leader])
        wait_for("another leader", lambda: cluster.leader() is not leader, 10)
        assert redis.Redis(port=new.resp).get("k0") == b"0"
        # The removed node is told so when it comes back, and tells whoever asks.
        leader.kill()
        leader.start()
        wait_for("the reason why it is not ready",
                 lambda: "is not a member of this cluster" in http("GET", leader.http, "/readyz?verbose")[1], 10)
        assert "there is no node" in ctl(cluster, "node", "remove", "n9", "--yes", ok=False)


def test_sigterm_hands_over_and_loses_nothing():
    with Cluster(3) as cluster:
        leader = cluster.leader()
        other = cluster.follower()
        data = redis.Redis(port=other.resp, socket_timeout=10)
        for i in range(100):
            data.incr("n")
        assert leader.terminate() == 0
        for i in range(100):
            data.incr("n")
        assert data.get("n") == b"200"
        leader.start()
        cluster.wait_ready()
        assert redis.Redis(port=leader.resp).get("n") == b"200"


def test_a_wiped_node_is_refused():
    with Cluster(3) as cluster:
        redis.Redis(port=cluster.nodes[0].resp).set("a", "1")
        victim = cluster.follower()
        victim.kill()
        shutil.rmtree(victim.data)
        victim.start()
        others = [n for n in cluster.nodes if n is not victim]
        wait_for("refusal in the log", lambda: any("another data directory" in n.log.read_text() for n in others), 10)
        assert redis.Redis(port=others[0].resp).get("a") == b"1"


def expect_failure(arguments, *words, code=None, environment=None, before_exec=None):
    done = subprocess.run([str(BIN / "fluxkv"), *arguments], capture_output=True, text=True, timeout=20,
                          env={**os.environ, **(environment or {})}, preexec_fn=before_exec)
    text = done.stdout + done.stderr
    assert done.returncode not in (0, None) and done.returncode > 0, (arguments, done.returncode, text)
    assert code is None or done.returncode == code, (arguments, done.returncode, text)
    for word in words:
        assert word in text, (arguments, word, text)


def test_wrong_flags_and_directories_say_so():
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        expect_failure(["server", "--listen-rsep", "x"], "--listen-resp", code=2)
        expect_failure(["server", "--listen-resp", "nowhere"], "HOST:PORT", code=2)
        expect_failure(["server", "--engine", "rock"], "memory, rocksdb", code=2)
        expect_failure(["server", "--fsync", "sometimes"], "always, everysec, no", code=2)
        expect_failure(["server", "--election-timeout", "10ms"], "--heartbeat-interval", code=2)
        expect_failure(["server", "--max-memory", "5 apples"], "512MiB", code=2)
        expect_failure(["server", "--name", "n7", "--initial-cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2"],
                       "does not name this node")
        expect_failure(["server"], "data-dir", code=2, environment={"FLUXKV_DATA_DRI": "x"})
        config = cluster.dir / "bad.yaml"
        config.write_text("name: n1\nlisten-rsep: 127.0.0.1:1\n")
        expect_failure(["server", "--config", str(config)], "bad.yaml:2", "listen-resp", code=2)
        base = ["server", "--listen-peer", "127.0.0.1:0", "--listen-resp", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]
        expect_failure(base + ["--name", node.name, "--data-dir", str(node.data)], "in use by another process")
        expect_failure(["server", "--listen-resp", f"127.0.0.1:{node.resp}", "--listen-peer", "127.0.0.1:0",
                        "--listen-http", "127.0.0.1:0", "--data-dir", str(cluster.dir / "d2")], "another process has this port")
        node.kill()
        expect_failure(base + ["--name", "other", "--data-dir", str(node.data)], "belongs to node 'n1'")
        expect_failure(base + ["--name", "n1", "--data-dir", str(node.data), "--engine", "rocksdb"], "engine cannot be changed")
        stray = cluster.dir / "stray"
        stray.mkdir()
        (stray / "photo.jpg").write_text("x")
        expect_failure(base + ["--data-dir", str(stray)], "photo.jpg")
        identity = node.data / "identity"
        good = identity.read_bytes()
        identity.write_bytes(good[:20] + bytes([good[20] ^ 1]) + good[21:])
        expect_failure(base + ["--name", "n1", "--data-dir", str(node.data)], "checksum")
        identity.write_bytes(good)
        node.start()
        cluster.wait_ready()


def test_garbage_on_every_port_harms_nobody():
    junk = [b"\0" * 64, b"\xff" * 4096, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"*1\r\n$99999999999\r\n", b"*1000000\r\n$1\r\n",
            b"POST /cluster/node/add HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", os.urandom(10_000), b"a" * 200_000,
            b"GET /%zz HTTP/1.1\r\n\r\n", b"POST /leader/transfer HTTP/1.1\r\nContent-Length: 3\r\n\r\n{{{"]
    with Cluster(3) as cluster:
        data = redis.Redis(port=cluster.nodes[0].resp)
        data.set("a", "1")
        term = cluster.leader().group()["term"]
        for node in cluster.nodes:
            for port in (node.resp, node.http, node.peer, node.wire):
                for bytes_ in junk:
                    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                        try:
                            s.sendall(bytes_)
                            s.settimeout(0.05)
                            s.recv(1000)
                        except OSError:
                            pass  # closed on us, or waiting for more
        assert data.get("a") == b"1"
        assert all(n.process.poll() is None for n in cluster.nodes)
        assert cluster.leader().group()["term"] == term


def test_limits_of_keys_and_values():
    # Under a sanitizer so large a write takes seconds on each of its nodes.
    with Cluster(3, flags=["--request-timeout", "60s"]) as cluster:
        data = redis.Redis(port=cluster.nodes[0].resp, socket_timeout=90)
        largest = os.urandom(16 << 20)
        # On a busy machine so large a write may outlast its leader; it is sent again then, as clients do.
        wait_for("the write of the largest value", lambda: answered(data, "SET", "big", largest), 120)
        assert data.get("big") == largest
        assert data.set(b"k" * 65536, "v")
        for key, value in (("big", largest + b"x"), (b"k" * 65537, b"v")):
            try:
                data.set(key, value)
                raise AssertionError("taken although it is over the limit")
            except (redis.ResponseError, redis.ConnectionError) as error:
                assert "limit" in str(error) or "invalid bulk length" in str(error), error
        assert redis.Redis(port=cluster.nodes[1].resp, socket_timeout=90).get("big") == largest


def answered(client, *command):
    """The answer, or nothing if the outcome is unknown or there was no leader; other errors are raised."""
    try:
        return client.execute_command(*command)
    except redis.ResponseError as error:
        if str(error).split()[0] not in ("UNKNOWN", "CLUSTERDOWN", "TRYAGAIN"):
            raise
        return None


def test_http_tells_the_state():
    with Cluster(3) as cluster:
        node = cluster.nodes[0]
        status = node.status()
        assert status["name"] == "n1" and status["node_id"] == 1 and status["groups"][0]["voters"] == [1, 2, 3]
        for path, word in (("/livez", "ok"), ("/readyz?verbose", "[+]linearizable_read ok"), ("/version", "fluxkv"),
                           ("/metrics", "fluxkv_group_has_leader{group=\"1\"} 1")):
            code, text = http("GET", node.http, path)
            assert code == 200 and word in text, (path, code, text)
        assert http("GET", node.http, "/nothing")[0] == 404
        assert http("POST", node.http, "/status", {})[0] == 405
        code, text = http("POST", node.http, "/cluster/node/remove", {"node": "x"})
        assert code == 400 and "not a whole number" in json.loads(text)["error"]["message"]
        for other in cluster.nodes[1:]:
            other.pause()
        try:
            wait_for("unreadiness", lambda: http("GET", node.http, "/readyz", timeout=10)[0] == 503, 15)
        finally:
            for other in cluster.nodes[1:]:
                other.resume()
        cluster.wait_ready()


def test_a_follower_that_was_away_catches_up_by_snapshot():
    for engine in ("memory", "rocksdb"):
        cluster = Cluster(3, engine)
        cluster.flags += ["--snapshot-log-bytes", "1MiB"]
        with cluster:
            away = cluster.follower()
            away.kill()
            data = redis.Redis(port=cluster.leader().resp)
            pipeline = data.pipeline(transaction=False)
            for i in range(40_000):
                pipeline.set(f"k{i}", "v" * 100)
                if i % 20 == 0:
                    pipeline.execute()
            pipeline.execute()
            wait_for("a shortened log", lambda: cluster.leader().group()["first_index"] > 100, 30)
            away.start()
            cluster.wait_ready(60)
            cluster.wait_converged(60)
            assert "installed snapshot" in away.log.read_text(), "it did not need one"
            copy = redis.Redis(port=away.resp)
            assert copy.dbsize() == 40_000 and copy.get("k39999") == b"v" * 100
            for node in cluster.nodes:
                node.kill()
            for node in cluster.nodes:
                node.start()
            cluster.wait_ready(60)
            assert redis.Redis(port=away.resp).dbsize() == 40_000


def test_wal_dump_reads_a_live_log():
    with Cluster(1) as cluster:
        redis.Redis(port=cluster.nodes[0].resp).set("a", "1")
        text = ctl(cluster, "wal", "dump", str(cluster.nodes[0].data))
        assert "hard state: term 1" in text and "entry" in text, text
        assert pathlib.Path(cluster.nodes[0].data).exists()
