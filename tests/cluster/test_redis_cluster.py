"""Goal: clients of Redis Cluster find their way with `--resp-cluster yes`, and back to it after a leader is gone."""
import subprocess

import redis
from redis.cluster import RedisCluster

from cluster import Cluster, wait_for


def test_clients_of_redis_cluster():
    with Cluster(3, flags=["--resp-cluster", "yes"]) as cluster:
        check = subprocess.run(["redis-cli", "--cluster", "check", f"127.0.0.1:{cluster.nodes[0].resp}"],
                               capture_output=True, text=True, timeout=60, check=True).stdout
        assert "All 16384 slots covered" in check and "All nodes agree about slots configuration" in check, check
        client = RedisCluster(host="127.0.0.1", port=cluster.nodes[1].resp)
        for i in range(300):
            client.set(f"k{i}", i)
        assert all(client.get(f"k{i}") == str(i).encode() for i in range(300))
        slot = client.keyslot("k7")
        assert client.cluster_countkeysinslot(slot) >= 1
        # One node at least leads nothing of this slot, and says who does.
        moved = 0
        for node in cluster.nodes:
            try:
                assert redis.Redis(port=node.resp).get("k7") == b"7"
            except redis.ResponseError as error:
                assert str(error).startswith(f"MOVED {slot} 127.0.0.1:"), error
                moved += 1
        assert moved == 2, moved
        for node in cluster.nodes:
            reader = redis.Redis(port=node.resp, single_connection_client=True)
            assert reader.execute_command("READONLY") in (True, b"OK", "OK")
            assert reader.get("k7") == b"7"


def test_a_client_of_redis_cluster_outlives_a_leader():
    with Cluster(3, flags=["--resp-cluster", "yes"]) as cluster:
        leader = cluster.leader()
        survivor = cluster.follower()
        client = RedisCluster(host="127.0.0.1", port=survivor.resp)
        client.set("before", 1)
        leader.kill()

        def writes():
            # This client cannot always look around again after an error (it copies itself, locks and all): programs make
            # a new one.
            try:
                fresh = RedisCluster(host="127.0.0.1", port=survivor.resp)
                return fresh if fresh.set("after", 2) else None
            except (redis.RedisError, redis.exceptions.RedisClusterException):
                return None

        fresh = wait_for("a write after the leader is gone", writes, 30)
        assert fresh.get("before") == b"1"
