"""What the tests of clusters share: nodes as processes, a load with a journal of what was acknowledged, and what must
hold of it at the end. Standard library only."""
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

VARVE = sys.argv.pop(1)
HEARTBEAT_MS = int(os.environ.get("VARVE_HEARTBEAT_MS", "100"))
ELECTION_MS = int(os.environ.get("VARVE_ELECTION_MS", "600"))


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("VARVE_") and k != "NOTIFY_SOCKET"}
    env.update(more)
    return env


def free_ports(n):
    """Ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Answer(tuple):
    """(status, body): 0 when the connection broke, so that nothing is known."""

    @property
    def status(self):
        return self[0]

    @property
    def json(self):
        return json.loads(self[1])


class Client:
    """One connection to one node, dialled again when it breaks."""

    def __init__(self, port, timeout=15):
        self.port, self.timeout, self.c = port, timeout, None

    def ask(self, method, path, body=None, headers=None):
        h = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            h.setdefault("content-type", "application/json")
        sent = False
        try:
            if self.c is None:
                self.c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
                self.c.connect()
                self.c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent = True
            self.c.request(method, path, body, h)
            r = self.c.getresponse()
            a = Answer((r.status, r.read()))
            a.etag = r.headers.get("etag")
            return a
        except (OSError, http.client.HTTPException):
            self.close()
            a = Answer((0, b""))
            a.etag, a.sent = None, sent
            return a

    def close(self):
        if self.c:
            self.c.close()
        self.c = None


class Node:
    def __init__(self, cluster, i):
        self.cluster, self.id = cluster, i + 1
        self.folder = os.path.join(cluster.dir, f"node{self.id}")
        self.port, self.peer_port = cluster.ports[2 * i], cluster.ports[2 * i + 1]
        self.log = os.path.join(cluster.dir, f"node{self.id}.log")
        self.process = None
        self.client = Client(self.port)
        self.words = []
        self.nodes_text = ""  # the cluster's
        self.begun = 0  # of the log

    def start(self, *words):
        self.begun = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [VARVE, "serve", "--data", self.folder, "--listen", f"127.0.0.1:{self.port}", "--node-id", str(self.id),
                 "--cluster-nodes", self.nodes_text or self.cluster.nodes_text, "--cluster-heartbeat", f"{HEARTBEAT_MS}ms",
                 "--cluster-election", f"{ELECTION_MS}ms", *self.cluster.words, *self.words, *words],
                stdout=subprocess.DEVNULL, stderr=log, env=clean_env())

    def signal(self, signo):
        self.process.send_signal(signo)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self, timeout=60):
        self.process.terminate()
        code = self.process.wait(timeout)
        self.client.close()
        return code

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def ask(self, method, path, body=None, headers=None):
        return self.client.ask(method, path, body, headers)

    def topology(self):
        a = self.ask("GET", "/v1/admin/topology")
        return a.json if a.status == 200 else None

    def lines(self):
        """Of the log, since the last start."""
        out = []
        with open(self.log, errors="replace") as f:
            f.seek(self.begun)
            for line in f:
                try:
                    out.append(json.loads(line))
                except ValueError:
                    out.append({"msg": line.strip()})
        return out

    def has_line(self, begin, **fields):
        return any(l.get("msg", "").startswith(begin) and all(str(v) in str(l.get(k)) for k, v in fields.items())
                   for l in self.lines())


class Cluster:
    def __init__(self, n=3, words=()):
        self.dir = tempfile.mkdtemp(prefix="varve-cluster-")
        self.ports = free_ports(2 * n)
        self.words = list(words)
        self.nodes_text = ",".join(f"{i + 1}@127.0.0.1:{self.ports[2 * i + 1]}" for i in range(n))
        self.nodes = [Node(self, i) for i in range(n)]

    def start(self):
        for n in self.nodes:
            n.start()
        self.ready()

    def end(self):
        for n in self.nodes:
            n.client.close()
            if n.alive:
                try:
                    n.signal(signal.SIGCONT)
                except OSError:
                    pass
                n.process.kill()
                n.process.wait()
        if os.environ.get("VARVE_KEEP"):
            print("kept:", self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir)

    def until(self, what, condition, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            got = condition()
            if got:
                return got
            for n in self.nodes:
                if n.process is not None and n.process.poll() not in (None, -signal.SIGKILL):
                    raise AssertionError(f"node {n.id} has ended: {n.lines()[-5:]}")
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {timeout} s; " +
                             "; ".join(f"node {n.id}: {n.lines()[-4:]}" for n in self.nodes))

    def ready(self, nodes=None):
        for n in nodes or self.nodes:
            self.until(f"node {n.id} ready", lambda: n.ask("GET", "/readyz").status == 200)

    def leader(self, among=None):
        """The node that says that it leads, once there is one that answers."""
        def look():
            best = None
            for n in among or self.nodes:
                t = n.topology() if n.alive else None
                if t and t["leader"] == n.id and (best is None or t["term"] > best[0]):
                    best = (t["term"], n)
            return best and best[1]
        return self.until("a leader", look)

    def followers(self):
        leader = self.leader()
        return [n for n in self.nodes if n is not leader]

    def caught_up(self, node, timeout=60):
        """Until the node has applied what the leader has committed by now."""
        want = self.leader().topology()["commit"]
        self.until(f"node {node.id} caught up to {want}", lambda: (node.topology() or {"applied": 0})["applied"] >= want,
                   timeout)


def reason(answer):
    """The last word of a problem's type: what kind of refusal it was."""
    try:
        return json.loads(answer[1])["type"].rsplit(":", 1)[1]
    except (ValueError, KeyError):
        return ""


NO_LEADER = "no-leader-can-be-reached"
UNKNOWN = "may-or-may-not-have-been-done"


class Writer(threading.Thread):
    """Writes keys that nobody else writes, each once, and increments a counter by compare-and-set; at whatever node is
    there. The journal has what was said of each."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number = load, number
        self.rng = random.Random(number)
        self.clients = [Client(n.port, timeout=20) for n in load.cluster.nodes]
        self.done = {}     # key -> value: acknowledged
        self.unknown = {}  # key -> value: nobody knows
        self.never = []    # keys that were surely not written
        self.added = self.maybe_added = 0
        self.failures = []
        self.last_version = ""

    def run(self):
        try:
            n = 0
            while not self.load.stop.is_set():
                client = self.rng.choice(self.clients)
                if n % 8 == 7:
                    self.increment(client)
                elif n % 4 == 1:
                    self.put_once(f"w{self.number}-{n:06}")
                else:
                    self.put(client, f"w{self.number}-{n:06}")
                n += 1
        except Exception as e:  # shown by Load.finish
            self.failures.append(repr(e))
        finally:
            for c in self.clients:
                c.close()

    def pause(self):
        time.sleep(self.rng.uniform(0.001, 0.02))

    def put(self, client, key):
        value = {"key": key, "pad": "x" * self.rng.randrange(200)}
        a = client.ask("PUT", f"/v1/load/{key}", value)
        if a.status == 200:
            self.done[key] = value
            self.load.acknowledged(a.json["version"])
            self.last_version = a.json["version"]
        elif a.status == 0 and not a.sent:
            self.never.append(key)
            self.pause()
        elif a.status == 503 and reason(a) == NO_LEADER:
            self.never.append(key)
        elif a.status == 0 or a.status in (503, 504, 499):
            self.unknown[key] = value
            self.pause()
        else:
            raise AssertionError(f"PUT {key}: {a}")

    def put_once(self, key):
        """Sent again, to any node, until it is acknowledged: the request's id makes that safe."""
        value = {"key": key, "pad": "y" * self.rng.randrange(200)}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            a = self.rng.choice(self.clients).ask("PUT", f"/v1/load/{key}", value, {"idempotency-key": "id of " + key})
            if a.status == 200:
                self.done[key] = value
                self.load.acknowledged(a.json["version"])
                return
            if a.status not in (0, 503, 504, 499):
                raise AssertionError(f"PUT {key} with an id: {a}")
            self.pause()
        raise AssertionError(f"PUT {key} with an id: not within 60 s")

    def increment(self, client):
        key = f"/v1/counters/c{self.rng.randrange(3)}"
        a = client.ask("GET", key)
        if a.status == 404:
            headers, n = {"if-none-match": "*"}, 0
        elif a.status == 200:
            headers, n = {"if-match": a.etag}, a.json["n"]
        else:
            self.pause()
            return
        a = client.ask("PUT", key, {"n": n + 1}, headers)
        if a.status in (200, 201):
            self.added += 1
            self.load.acknowledged(a.json["version"])
        elif a.status == 412 or (a.status == 0 and not a.sent) or (a.status == 503 and reason(a) == NO_LEADER):
            return
        elif a.status == 0 or a.status in (503, 504, 499):
            self.maybe_added += 1
            self.pause()
        else:
            raise AssertionError(f"increment: {a}")


class Load:
    def __init__(self, cluster, writers=6):
        self.cluster = cluster
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.acks = 0
        self.newest = ""
        self.last_ack = time.monotonic()
        self.writers = [Writer(self, i) for i in range(writers)]
        for w in self.writers:
            w.start()

    def acknowledged(self, version):
        with self.lock:
            self.acks += 1
            self.newest = max(self.newest, version)
            self.last_ack = time.monotonic()

    def wait_acks(self, more, timeout=40):
        """Until so many more writes were acknowledged; how long it took for the first of them."""
        begun, before, first = time.monotonic(), self.acks, None
        while self.acks < before + more:
            if first is None and self.acks > before:
                first = time.monotonic() - begun
            if time.monotonic() > begun + timeout:
                raise AssertionError(f"no {more} writes in {timeout} s: " +
                                     "; ".join(f"node {n.id}: {n.lines()[-4:]}" for n in self.cluster.nodes))
            if any(w.failures for w in self.writers):
                break
            time.sleep(0.005)
        return first if first is not None else time.monotonic() - begun

    def finish(self):
        self.stop.set()
        for w in self.writers:
            w.join(60)
            if w.is_alive():
                raise AssertionError("a writer hangs")
        failures = [f for w in self.writers for f in w.failures]
        if failures:
            raise AssertionError(f"{failures}")


def pages(node, path):
    """All items of a paged route, in order."""
    out, token = [], ""
    while True:
        a = node.ask("GET", path + (f"&page={token}" if token else ""))
        if a.status != 200:
            raise AssertionError(f"{path}: {a}")
        page = a.json
        out += page["items"]
        token = page["next"]
        if not token:
            return out


def changes(node):
    out, since = [], ""
    while True:
        a = node.ask("GET", f"/v1/changes?limit=10000&since={since}")
        if a.status != 200:
            raise AssertionError(f"changes: {a}")
        page = a.json
        out += [(i["version"], i["collection"], i["key"], i["kind"], i.get("parent")) for i in page["items"]]
        since = page["next"]
        if not page["more"]:
            return out


class ClusterCase(unittest.TestCase):
    def cluster(self, n=3, words=()):
        c = Cluster(n, words)
        self.addCleanup(c.end)
        c.start()
        return c

    def check(self, load):
        """Nothing lost, nothing twice, all nodes alike."""
        cluster = load.cluster
        load.finish()
        for n in cluster.nodes:
            cluster.caught_up(n)
        states = []
        for n in cluster.nodes:
            rows = {i["key"]: (i["version"], i["value"]) for i in pages(n, "/v1/load?limit=10000")}
            counters = {i["key"]: (i["version"], i["value"]["n"]) for i in pages(n, "/v1/counters?limit=100")}
            states.append((rows, counters, changes(n)))
        rows, counters, all_changes = states[0]
        for n, other in zip(cluster.nodes[1:], states[1:]):
            self.assertEqual(other[0], rows, f"node {n.id} has other records than node 1")
            self.assertEqual(other[1], counters)
            self.assertEqual(other[2], all_changes, f"node {n.id} has other changes than node 1")
        known = {}
        for w in load.writers:
            for key, value in w.done.items():
                self.assertIn(key, rows, "an acknowledged write is lost")
                self.assertEqual(rows[key][1], value)
            for key in w.never:
                self.assertNotIn(key, rows, "a write that was surely not done was done")
            known.update(w.done)
            known.update(w.unknown)
        self.assertLessEqual(set(rows), set(known), "keys that nobody wrote")
        added = sum(w.added for w in load.writers)
        maybe = sum(w.maybe_added for w in load.writers)
        total = sum(n for _, n in counters.values())
        self.assertGreaterEqual(total, added, "an acknowledged increment is lost")
        self.assertLessEqual(total, added + maybe, "an increment was done twice")
        written = [(c, k) for _, c, k, _, _ in all_changes if c == "load"]
        self.assertEqual(len(written), len(set(written)), "a key that was written once has two versions")
        versions = [v for v, *_ in all_changes]
        self.assertEqual(versions, sorted(versions))
        return {"acknowledged": load.acks, "records": len(rows), "unknown": sum(len(w.unknown) for w in load.writers),
                "surely not done": sum(len(w.never) for w in load.writers), "increments": added}
