"""Goal: a node that cannot start says why and harms nothing; one whose disk fills up refuses and recovers."""
import contextlib
import ctypes
import os
import pathlib
import shutil
import socket
import struct
import subprocess

import redis

from cluster import Cluster, http, wait_for
from test_operations import expect_failure

HERE = pathlib.Path(__file__).resolve().parent


def flags_of(node):
    """The flags of a node for a start of its own, on ports the system chooses."""
    return ["server", "--name", node.name, "--data-dir", str(node.data), "--engine", node.cluster.engine,
            "--listen-peer", "127.0.0.1:0", "--listen-resp", "127.0.0.1:0", "--listen-http", "127.0.0.1:0",
            "--listen-wire", "127.0.0.1:0"]


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@contextlib.contextmanager
def stopped_node(engine="memory", flags=(), values=100, size=10):
    """A cluster of one with some keys in it, killed. In the end it must start again and have them all."""
    with Cluster(1, engine, flags) as cluster:
        node = cluster.nodes[0]
        data = redis.Redis(port=node.resp)
        for i in range(values):
            data.set(f"k{i}", f"{i}." + "v" * size)
        node.kill()
        yield cluster, node
        node.start()
        cluster.wait_ready()
        for i in range(values):
            assert data.get(f"k{i}") == f"{i}.{'v' * size}".encode(), i


@contextlib.contextmanager
def changed(path, change):
    """The file holds something else for a while."""
    good = path.read_bytes()
    path.write_bytes(change(good))
    yield
    path.write_bytes(good)


# --- Ports -----------------------------------------------------------------------------------------------------------


def test_each_port_in_use_is_named():
    with stopped_node() as (cluster, node), socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for door in ("peer", "resp", "http", "wire"):
            flags = flags_of(node)
            flags[flags.index(f"--listen-{door}") + 1] = taken
            expect_failure(flags, taken, "another process has this port", code=1)


# --- Directories -----------------------------------------------------------------------------------------------------


def without_override():
    """For a child: root, too, is bound by the permissions of files."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_read_only_directory_is_named():
    with stopped_node() as (cluster, node):
        read_only = cluster.dir / "read-only"
        read_only.mkdir(mode=0o555)
        writable = subprocess.run(["test", "-w", str(read_only)], preexec_fn=without_override, timeout=10)
        if writable.returncode == 0:
            print("   SKIPPED: this user may write in every directory, and cannot give that up")
            return
        flags = flags_of(node)
        for where in (read_only, read_only / "below"):
            flags[flags.index("--data-dir") + 1] = str(where)
            expect_failure(flags, str(read_only), "Permission denied", code=1, before_exec=without_override)
        parts = [node.data, node.data / "wal", node.data / "identity", next((node.data / "wal").glob("wal-*.log"))]
        for part in parts:
            mode = part.stat().st_mode
            part.chmod(0o555 if part.is_dir() else 0o000)
            try:
                if part != node.data / "wal":  # nothing need be made there until the segment is full
                    expect_failure(flags_of(node), str(part), "Permission denied", code=1, before_exec=without_override)
            finally:
                part.chmod(mode)


def full_disk(node):
    """Lets the node's disk be full while the returned file exists."""
    library = node.cluster.dir / "full_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "full_disk.c"), "-ldl"], check=True,
                   timeout=60)
    flag = node.cluster.dir / "full"
    node.environment = {"LD_PRELOAD": str(library), "FULL_DISK": str(flag), "FULL_DISK_DIR": str(node.data)}
    return flag


def fill(data, until, acknowledged, rounds=300):
    """Writes until an answer says `until` or the server is gone, noting what was acknowledged; the last error."""
    said = ""
    for i in range(rounds):
        key, value = f"big{i % 8}", os.urandom(1 << 20)
        try:
            data.set(key, value)
            acknowledged[key] = value
        except (redis.ResponseError, redis.ConnectionError) as error:
            acknowledged.pop(key, None)  # it may be either
            said = str(error)
            if until in said or isinstance(error, redis.ConnectionError):
                break
    return said


def taken(data):
    try:
        return data.set("after", "2")
    except (redis.ResponseError, redis.ConnectionError):
        return False


def test_a_full_disk_refuses_writes_and_takes_them_again():
    cluster = Cluster(1, flags=["--request-timeout", "500ms"])
    node = cluster.nodes[0]
    flag = full_disk(node)
    flag.touch()
    expect_failure(flags_of(node), "No space left on device", code=1, environment=node.environment)
    flag.unlink()
    with cluster:  # the directory that was begun is taken
        data = redis.Redis(port=node.resp, socket_timeout=30)
        data.set("kept", "1")
        flag.touch()
        acknowledged = {}
        said = fill(data, "no space left", acknowledged)
        assert "no space left on the disk of the log" in said, said
        assert data.get("kept") == b"1"
        code, text = http("GET", node.http, "/readyz")
        assert code == 503 and "[-]log_has_space" in text, text
        assert "fluxkv_wal_full 1" in http("GET", node.http, "/metrics")[1]
        flag.unlink()
        wait_for("a write that is taken again", lambda: taken(data))
        cluster.wait_ready()
        node.kill()
        node.start()
        cluster.wait_ready()
        assert data.get("kept") == b"1" and data.get("after") == b"2"
        for key, value in acknowledged.items():
            assert data.get(key) == value, key


def test_a_full_disk_under_rocksdb_loses_nothing():
    """RocksDB may end the process when a write of its own fails; what was acknowledged is in the log."""
    cluster = Cluster(1, "rocksdb", flags=["--request-timeout", "500ms"])
    node = cluster.nodes[0]
    flag = full_disk(node)
    with cluster:
        data = redis.Redis(port=node.resp, socket_timeout=30)
        acknowledged = {}
        fill(data, "never", acknowledged, rounds=4)
        flag.touch()
        assert fill(data, "no space left", acknowledged), "the disk was not full"
        assert len(acknowledged) >= 3
        flag.unlink()
        node.kill()
        node.start()
        cluster.wait_ready()
        for key, value in acknowledged.items():
            assert data.get(key) == value, key
        assert taken(data)


def test_a_directory_from_the_future_is_left_alone():
    with stopped_node(flags=["--snapshot-log-bytes", "1MiB"], values=3000, size=1000) as (cluster, node):
        def identity(good):
            body = good[:8] + struct.pack("<I", 2) + good[12:-4]
            return body + struct.pack("<I", crc32c(body))

        def segment(good):
            page = good[:8] + struct.pack("<II", 2, 0) + good[16:4096]
            return page[:12] + struct.pack("<I", crc32c(page)) + page[16:] + good[4096:]

        def snapshot(good):
            payload = struct.unpack("<I", good[16:20])[0]
            frame = good[:32] + struct.pack("<I", 2) + good[36:32 + payload]
            return frame[:4] + struct.pack("<I", crc32c(frame[8:])) + frame[8:] + good[32 + payload:]

        with changed(node.data / "identity", identity):
            expect_failure(flags_of(node), "format 2", "reads 1", code=1)
        for path in sorted((node.data / "wal").glob("wal-*.log")):
            with changed(path, segment):
                expect_failure(flags_of(node), "format", "2", code=1)
        newest = sorted((node.data / "snapshots/group-1").glob("*.snap"))[-1]
        with changed(newest, snapshot):
            expect_failure(flags_of(node), "snapshot format 2", code=1)


def test_a_half_written_directory_goes_on_or_says_what_is_missing():
    with stopped_node() as (cluster, node):
        begun = cluster.dir / "begun"
        begun.mkdir()
        (begun / "LOCK").touch()
        (begun / "identity.tmp").write_bytes(b"FLUX")
        other = Cluster(1)
        other.nodes[0].data = begun
        with other:  # its making was cut off: it is made now
            assert redis.Redis(port=other.nodes[0].resp).set("a", "1")
        for size in (0, 10, 40):
            with changed(node.data / "identity", lambda good: good[:size]):
                expect_failure(flags_of(node), "identity", code=1)
        with contextlib.ExitStack() as stack:
            hidden = cluster.dir / "hidden"
            shutil.move(node.data / "identity", hidden)
            stack.callback(shutil.move, hidden, node.data / "identity")
            expect_failure(flags_of(node), "holds", "no node", code=1)
        # What a crash in the middle of making a file leaves is swept away.
        left = [node.data / "wal/segment.tmp", node.data / "snapshots/group-1/0.snap.tmp", node.data / "identity.tmp"]
        for path in left:
            path.write_bytes(b"half")
        node.start()
        cluster.wait_ready()
        for path in left:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # or made anew meanwhile
                assert file.read(4) != b"half", path
        node.kill()


def test_a_lost_log_is_no_new_beginning():
    with Cluster(3) as cluster:
        data = redis.Redis(port=cluster.nodes[0].resp)
        for i in range(100):
            data.set(f"k{i}", i)
        victim = cluster.follower()
        victim.kill()
        shutil.rmtree(victim.data / "wal")
        expect_failure(flags_of(victim) + cluster.flags, "has lost its log", code=1)


def test_a_lost_engine_is_made_from_the_log():
    with stopped_node(engine="rocksdb") as (cluster, node):
        shutil.rmtree(node.data / "rocksdb")


def test_a_directory_of_another_cluster_is_kept_apart():
    with Cluster(1) as strange, Cluster(3) as cluster:
        stranger = strange.nodes[0]
        redis.Redis(port=stranger.resp).set("whose", "strange")
        stranger.kill()
        node = cluster.nodes[0]
        data = redis.Redis(port=cluster.nodes[1].resp, socket_timeout=10)
        data.set("whose", "ours")
        node.kill()
        ours, node.data = node.data, stranger.data
        node.start()
        others = cluster.nodes[1:]
        wait_for("a refusal in a log", lambda: any("belongs to cluster" in n.log.read_text() for n in others), 10)
        assert data.set("more", "1") and data.get("whose") == b"ours"
        for other in others:
            assert other.group()["voters"] == [1, 2, 3]
        node.kill()
        node.data = ours
        node.start()
        cluster.wait_ready()
        assert redis.Redis(port=node.resp).get("whose") == b"ours"
        stranger.start()
        strange.wait_ready()
        assert redis.Redis(port=stranger.resp).get("whose") == b"strange"


def test_an_older_copy_of_a_directory_is_refused():
    with Cluster(3) as cluster:
        data = redis.Redis(port=cluster.nodes[0].resp)
        data.set("a", "1")
        victim = cluster.follower()
        victim.kill()
        copy = cluster.dir / "copy"
        shutil.copytree(victim.data, copy)
        for _ in range(2):
            victim.start()
            cluster.wait_ready()
            victim.kill()
        shutil.rmtree(victim.data)
        shutil.move(copy, victim.data)
        victim.start()
        others = [n for n in cluster.nodes if n is not victim]
        wait_for("refusal in the log", lambda: any("older copy" in n.log.read_text() for n in others), 10)
        assert redis.Redis(port=others[0].resp).get("a") == b"1"
