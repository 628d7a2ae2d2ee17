"""What `varve serve` must hold against: kills under load, full disks, memory limits, and clients that are many, slow or hostile.

Figures of time are only printed; what fails the test is a lost write, a wrong answer or memory without bound."""
import http.client
import json
import os
import random
import resource
import socket
import ssl
import subprocess
import threading
import time
import unittest

import h2_raw as h2
from server_case import ServerCase

MANY = int(os.environ.get("VARVE_MANY", "2000"))      # idle connections
SLOW = int(os.environ.get("VARVE_SLOW", "100"))       # slow readers
SLOW_MB = int(os.environ.get("VARVE_SLOW_MB", "64"))  # what each of them asked for
KILLS = int(os.environ.get("VARVE_KILLS", "5"))
KEYS_SPILLED = 150_000  # so many that a table of 2 MiB holds fewer than one of eight
RESETS = int(os.environ.get("VARVE_RESETS", "100000"))


def rss(process):
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) * 1024


def say(text):
    print(text, flush=True)


class Writers:
    """Threads that put rising numbers under keys of their own and note what was acknowledged, before and after."""

    def __init__(self, port, journal, n=16):
        self.port, self.journal, self.stop = port, journal, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        self.acknowledged = 0
        self.wrong = []
        for t in self.threads:
            t.start()

    def run(self, i):
        rng = random.Random(i)
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop.is_set():
            key = f"w{i}-{rng.randrange(50)}"
            tried, done = self.journal.setdefault(key, [0, 0])
            self.journal[key][0] = tried + 1
            try:
                c.request("PUT", f"/v1/load/{key}", json.dumps({"n": tried + 1}), {"content-type": "application/json"})
                answer = c.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                break
            if answer.status == 200:
                self.journal[key][1] = tried + 1
                self.acknowledged += 1
            elif answer.status != 503:
                self.wrong.append(answer.status)
        c.close()

    def join(self):
        self.stop.set()
        for t in self.threads:
            t.join()


class Hold(ServerCase):
    def test_kill_under_load_loses_nothing_acknowledged(self):
        journal, total = {}, 0
        for kill in range(KILLS):
            begun = time.monotonic()
            s = self.serve()
            say(f"served after {time.monotonic() - begun:.2f} s")
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
            for key, (tried, done) in sorted(journal.items()):
                status, body = s.ask("GET", f"/v1/load/{key}", connection=c)
                n = json.loads(body)["n"] if status == 200 else 0
                self.assertTrue(done <= n <= tried, f"{key}: {n} is there, {done} was acknowledged, {tried} tried")
                status, body = s.ask("GET", f"/v1/load/{key}/history", connection=c)
                if n:
                    versions = json.loads(body)["items"]
                    self.assertGreaterEqual(len(versions), 1)
                journal[key] = [tried, n]
            c.close()
            w = Writers(s.port, journal)
            time.sleep(random.Random(kill).uniform(0.2, 0.8))
            s.process.kill()
            s.process.wait()
            w.join()
            self.assertEqual(w.wrong, [])
            self.assertGreater(w.acknowledged, 0)
            total += w.acknowledged
        say(f"{total} writes acknowledged over {KILLS} kills, none lost")

    def overwrite(self, s, journal, rng, until):
        """Batches over random keys of the journal, which has the n acknowledged of each, until `until` says so."""
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        for _ in range(2000):
            if until():
                c.close()
                return
            keys = rng.sample(range(len(journal)), 500)
            writes = [{"collection": "load", "key": f"k{k:06}", "value": {"n": journal[k] + 1}} for k in keys]
            status, body = s.ask("POST", "/v1/batch", json.dumps({"writes": writes}),
                                 {"content-type": "application/json"}, connection=c)
            self.assertEqual(status, 200, body)
            for k in keys:
                journal[k] += 1
        self.fail("no table was spilled")

    def test_kill_with_spilled_tables_loses_nothing_acknowledged(self):
        """Tables whose keys lie thin among the live ones go to the disk as they are, and only the log has them for good."""
        journal, rng = [0] * KEYS_SPILLED, random.Random(1)

        def spilled(pid):
            with open(f"/proc/{pid}/maps") as f:
                return len({line.split()[4] for line in f if line.rstrip().endswith("/spilled (deleted)")})

        for kill in range(2):
            s = self.serve("--store-table", "2MiB")
            if kill == 0:
                for at in range(0, len(journal), 2500):
                    writes = [{"collection": "load", "key": f"k{k:06}", "value": {"n": 0}} for k in range(at, at + 2500)]
                    status, body = s.ask("POST", "/v1/batch", json.dumps({"writes": writes}),
                                         {"content-type": "application/json"})
                    self.assertEqual(status, 200, body)
                status, body = s.ask("POST", "/v1/admin/checkpoint")
                self.assertEqual(status, 200, body)
            self.overwrite(s, journal, rng, lambda: spilled(s.process.pid) >= 2)
            say(f"killed with {spilled(s.process.pid)} spilled tables")
            s.process.kill()
            s.process.wait()
            s = self.serve("--store-table", "2MiB")
            self.assertEqual([f for f in os.listdir(self.data) if "spilled" in f], [])
            for at in range(0, len(journal), 5000):
                gets = [{"collection": "load", "key": f"k{k:06}"} for k in range(at, at + 5000)]
                status, body = s.ask("POST", "/v1/get", json.dumps({"keys": gets}), {"content-type": "application/json"})
                self.assertEqual(status, 200, body)
                for k, item in zip(range(at, at + 5000), json.loads(body)["items"]):
                    self.assertEqual(item["value"]["n"], journal[k], gets[k - at])
            status, body = s.ask("POST", "/v1/admin/verify")
            self.assertEqual(status, 200, body)
            self.assertEqual(s.stop(), 0)

    def many(self, n, open_one):
        """Memory that n idle connections cost each; a new one is served meanwhile."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * MANY + 1000), hard))
        before, sockets = rss(self.servers[-1].process), []
        try:
            for _ in range(n):
                sockets.append(open_one())
            self.assertEqual(self.servers[-1].ask("GET", "/livez")[0], 200)
            return (rss(self.servers[-1].process) - before) / n
        finally:
            for s in sockets:
                s.close()

    def test_idle_connections_are_cheap(self):
        s = self.serve("--limit-connections", str(MANY + 100))
        s.put("warm", {"n": 1})

        def http1():
            c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
            c.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            self.assertTrue(c.recv(4096).startswith(b"HTTP/1.1 200"))
            return c

        def http2():
            c = h2.connect(s.port)
            c.sendall(h2.request(1, "/livez"))
            reader = h2.Reader(c)
            while True:
                f = reader.frame()
                self.assertIsNotNone(f)
                if f[2] == 1 and f[1] & h2.END_STREAM and f[0] in (h2.DATA, h2.HEADERS):
                    return c

        for name, one in (("HTTP/1.1", http1), ("HTTP/2", http2)):
            each = self.many(MANY, one)
            say(f"{MANY} idle {name} connections: {each / 1024:.1f} KiB each")
            self.assertLessEqual(each, 24 * 1024, name)
            time.sleep(0.5)

    def test_idle_tls_connections_are_cheap(self):
        cert, key = os.path.join(self.dir, "cert.pem"), os.path.join(self.dir, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
        s = self.serve("--tls-cert", cert, "--tls-key", key, "--limit-connections", str(MANY + 100))
        context = ssl.create_default_context(cafile=cert)
        context.check_hostname = False

        def one():
            c = context.wrap_socket(socket.create_connection(("127.0.0.1", s.port), timeout=30))
            c.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            self.assertTrue(c.recv(4096).startswith(b"HTTP/1.1 200"))
            return c

        s.ask = lambda *_: (one().close() or 200, b"")
        n = MANY // 2
        each = self.many(n, one)
        say(f"{n} idle TLS connections: {each / 1024:.1f} KiB each")
        self.assertLessEqual(each, 64 * 1024)

    def fill(self, s, megabytes, value=16000):
        for n in range(megabytes):
            writes = [{"collection": "big", "key": f"k{n:05}-{i:05}", "value": {"text": "x" * value}}
                      for i in range(1000000 // value)]
            status, answer = s.ask("POST", "/v1/batch", json.dumps({"writes": writes}),
                                   {"content-type": "application/json"})
            self.assertEqual(status, 200, answer[:300])

    def test_slow_readers_cost_bounded_memory(self):
        s = self.serve("--limit-connections", str(SLOW + 100), "--store-table", "32MiB", "--timeout-send", "300s")
        self.fill(s, SLOW_MB)
        s.ask("POST", "/v1/admin/checkpoint")
        good = s.ask("GET", "/v1/big?limit=10")
        self.assertEqual(good[0], 200)
        before, readers = rss(s.process), []
        try:
            for i in range(SLOW):
                c = socket.create_connection(("127.0.0.1", s.port), timeout=60)
                path = "/v1/big?limit=1000000" if i % 2 else "/v1/changes?since="
                accept = "application/x-ndjson" if i % 2 else "text/event-stream"
                c.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n".encode())
                readers.append(c)
            for c in readers:  # each has begun, and reads no more
                self.assertTrue(c.recv(100).startswith(b"HTTP/1.1 200"))
            grown = []
            for _ in range(10):
                time.sleep(0.3)
                self.assertEqual(s.ask("GET", "/v1/big?limit=10")[0], 200)
                grown.append(rss(s.process) - before)
            each = max(grown) / SLOW
            say(f"{SLOW} slow readers of {SLOW_MB} MB: {each / 1024:.0f} KiB each")
            self.assertLessEqual(each, 512 * 1024)
        finally:
            for c in readers:
                c.close()

    def good_client(self, s, stop, seen):
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        while not stop.is_set():
            begun = time.monotonic()
            seen.append((s.ask("GET", "/v1/t/good", connection=c)[0], time.monotonic() - begun))
        c.close()

    def test_hostile_clients_are_cut_and_harm_nobody(self):
        s = self.serve()
        self.assertEqual(s.put("good", {"n": 1})[0], 200)
        stop, seen = threading.Event(), []
        good = threading.Thread(target=self.good_client, args=(s, stop, seen))
        good.start()
        rng = random.Random(7)
        try:
            before = rss(s.process)
            for name, attack in self.attacks(s, rng):
                c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
                sent = 0
                try:
                    for piece in attack:
                        c.sendall(piece)
                        sent += len(piece)
                        if sent > 200 << 20:
                            break
                    c.shutdown(socket.SHUT_WR)
                    while c.recv(65536):
                        pass
                    cut = True
                except socket.timeout:
                    cut = False
                except OSError:
                    cut = True
                c.close()
                say(f"{name}: cut off after {sent} bytes")
                self.assertTrue(cut, name)
                self.assertLess(sent, 150 << 20, name)
            self.assertLess(rss(s.process) - before, 128 << 20)
        finally:
            stop.set()
            good.join()
        self.assertGreater(len(seen), 100)
        self.assertEqual({status for status, _ in seen}, {200})
        slowest = sorted(t for _, t in seen)
        say(f"the others: {len(seen)} requests, p99 {slowest[len(seen) * 99 // 100] * 1000:.1f} ms, "
            f"slowest {slowest[-1] * 1000:.1f} ms")

    def attacks(self, s, rng):
        def resets():
            yield h2.PREFACE + h2.settings()
            for i in range(RESETS):
                yield h2.request(2 * i + 1, "/v1/t/good") + h2.frame(h2.RST_STREAM, stream=2 * i + 1, payload=b"\0\0\0\x08")

        def settings():
            yield h2.PREFACE
            while True:
                yield h2.settings(window=65535) * 100

        def pings():
            yield h2.PREFACE + h2.settings()
            while True:
                yield h2.frame(h2.PING, payload=b"12345678") * 100

        def continuations():
            yield h2.PREFACE + h2.settings() + h2.frame(h2.HEADERS, 0, 1, h2.field(":method", "GET"))
            while True:
                yield h2.frame(h2.CONTINUATION, 0, 1, h2.field("x-a", "b" * 100) * 10)

        def header():
            yield b"GET /livez HTTP/1.1\r\nhost: x\r\n"
            while True:
                yield b"x-a: " + b"b" * 65000 + b"\r\n"

        def one_header():
            yield b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: "
            while True:
                yield b"b" * 65536

        def garbage():
            while True:
                yield rng.randbytes(65536)

        def half_frame():
            yield h2.PREFACE + h2.settings() + h2.request(1, "/v1/t/good")[:7]

        return [("rapid reset", resets()), ("SETTINGS flood", settings()), ("PING flood", pings()),
                ("CONTINUATION flood", continuations()), ("a head of many fields", header()),
                ("a head without end", one_header()), ("garbage", garbage()), ("half a frame", half_frame())]

    @unittest.skipUnless(os.geteuid() == 0, "mounts a small filesystem")
    def test_full_disk_refuses_writes_and_recovers(self):
        os.mkdir(self.data)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", self.data], capture_output=True).returncode:
            self.skipTest("mounting is not allowed here")
        try:
            s = self.serve("--store-table", "4MiB", "--store-log", "16MiB")
            self.assertEqual(s.put("before", {"n": 1})[0], 200)
            ballast = os.path.join(self.data, "ballast")
            refused, n = None, 0
            with open(ballast, "wb") as f:
                f.write(b"x" * (36 << 20))
            while refused is None and n < 3000:
                status, body = s.put(f"fill{n}", {"text": "y" * 20000})
                n += 1
                if status != 200:
                    refused = status, json.loads(body)
            self.assertIsNotNone(refused)
            say(f"full after {n} writes: {refused[0]} {refused[1]}")
            self.assertIn(refused[0], (503, 507))
            self.assertEqual(s.ask("GET", "/v1/t/before")[0], 200)
            self.assertEqual(s.ask("GET", "/v1/t/fill0")[0], 200)
            os.remove(ballast)
            begun, status = time.monotonic(), 0
            while status != 200 and time.monotonic() - begun < 30:
                status, body = s.put("after", {"n": 2})
                time.sleep(0.1)
            self.assertEqual(status, 200, body)
            say(f"writes again {time.monotonic() - begun:.1f} s after there was room")
            self.assertEqual(s.stop(), 0)
            s = self.serve()
            for key in ("before", "after", "fill0", f"fill{n - 2}"):
                self.assertEqual(s.ask("GET", f"/v1/t/{key}")[0], 200, key)
            self.assertEqual(s.ask("GET", f"/v1/t/fill{n - 1}")[0], 404, "it was refused")
            self.assertEqual(s.stop(), 0)
        finally:
            for s in self.servers:
                if s.process.poll() is None:
                    s.process.kill()
                    s.process.wait()
            subprocess.run(["umount", self.data], check=True)

    def test_memory_limit_is_an_answer(self):
        s = self.serve("--limit-request-bytes", "2MiB", "--limit-connection-bytes", "2MiB")
        status, body = s.put("big", {"text": "x" * (3 << 20)})
        self.assertIn(status, (413, 429, 503))
        say(f"over the limit: {status} {body[:120]!r}")
        self.assertEqual(s.put("small", {"n": 1})[0], 200)
        self.assertEqual(s.ask("GET", "/v1/t/small")[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
