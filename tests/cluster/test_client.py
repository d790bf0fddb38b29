"""Goal: programs that use the C++ client see one copy of the data, and every write once, while nodes die and shards
move."""
import json
import random
import subprocess
import threading

from cluster import BIN, Cluster, wait_for
from test_shards import running_plans


def test_a_load_through_the_client_sees_one_copy_while_nodes_die():
    with Cluster(3, flags=["--groups", "3"]) as cluster:
        stop = threading.Event()

        def kill_one_after_the_other():
            rng = random.Random(1)
            while not stop.is_set():
                node = rng.choice(cluster.nodes)
                node.kill()
                stop.wait(0.2)
                node.start()
                wait_for(f"readiness of {node.name}", lambda: node.ready() or cluster.died(node), 30)
                wait_for("readiness of all", lambda: all(n.ready() for n in cluster.nodes), 30)

        endpoints = ",".join(f"127.0.0.1:{n.http}" for n in cluster.nodes)
        load = subprocess.Popen([str(BIN / "fluxctl"), "--endpoints", endpoints, "-o", "json", "--timeout", "20",
                                 "verify", "--wire", "--seconds", "12", "--quiet"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        killer = threading.Thread(target=kill_one_after_the_other, daemon=True)
        killer.start()
        try:
            out, complaints = load.communicate(timeout=90)
        finally:
            stop.set()
            killer.join(60)
            load.kill()
        assert load.returncode == 0, complaints
        verdict = json.loads(out)
        print(f"   {verdict['ok']} operations, {verdict['failed']} failed, {verdict['unknown']} unknown")
        assert verdict["verdict"] == "linearizable"
        assert verdict["ok"] > 500
        # Every one of them has one key: none is given up as long as a quorum comes back in time.
        assert verdict["failed"] == verdict["unknown"] == 0, out


def test_the_client_follows_shards_to_nodes_that_it_was_not_told_of():
    with Cluster(3, flags=["--groups", "1"]) as cluster:
        told = list(cluster.nodes)
        for name in ("n4", "n5", "n6"):
            cluster.join(name)
        cluster.wait_ready()
        endpoints = f"127.0.0.1:{told[0].http}"
        load = subprocess.Popen([str(BIN / "fluxctl"), "--endpoints", endpoints, "-o", "json", "--timeout", "20",
                                 "verify", "--wire", "--seconds", "10", "--quiet"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        cluster.ctl("group", "add", "--voters", "n4", "n5", "n6")
        wait_for("a move", lambda: running_plans(cluster), 20)
        wait_for("the end of the moves", lambda: not running_plans(cluster), 60)
        out, complaints = load.communicate(timeout=90)
        assert load.returncode == 0, complaints
        verdict = json.loads(out)
        print(f"   {verdict['ok']} operations, {verdict['failed']} failed, {verdict['unknown']} unknown")
        assert verdict["failed"] == verdict["unknown"] == 0, out


def test_the_example_does_what_it_says():
    with Cluster(3, flags=["--groups", "3"]) as cluster:
        for run, node in enumerate(cluster.nodes, start=1):
            done = subprocess.run([str(BIN / "hello_fluxkv"), f"127.0.0.1:{node.wire}"], capture_output=True, text=True,
                                  timeout=60)
            assert (done.returncode, done.stdout) == (0, f"hello world, run {run}\n"), done.stdout + done.stderr
        for wrong, complaint in (("nowhere", "HOST:PORT"), (f"127.0.0.1:{cluster.nodes[0].peer}", "--listen-wire"),
                                 (f"127.0.0.1:{cluster.nodes[0].resp}", "--listen-wire")):
            done = subprocess.run([str(BIN / "hello_fluxkv"), wrong], capture_output=True, text=True, timeout=60)
            assert done.returncode == 1 and complaint in done.stderr, done.stderr
        assert all(n.process.poll() is None for n in cluster.nodes)
