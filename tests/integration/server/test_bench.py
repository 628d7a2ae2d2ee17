"""`varve bench` against a real `varve serve` on loopback, with small counts: workloads, doors, TLS, tokens, errors."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

VARVE = os.path.abspath(sys.argv.pop(1))
KEYS = 2000


def clean_env():
    return {k: v for k, v in os.environ.items() if not k.startswith("VARVE_") and k != "NOTIFY_SOCKET"}


class Server:
    def __init__(self, folder, *words):
        self.process = subprocess.Popen([VARVE, "serve", "--data", folder, "--listen", "127.0.0.1:0", *words],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_env())
        self.address = None
        for line in self.process.stderr:
            if '"listening"' in line:
                self.address = json.loads(line)["address"].split(",")[0]
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        assert self.address, "the server did not start"

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.process.stderr.close()


class Bench(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="varve-bench-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def serve(self, *words):
        server = Server(os.path.join(self.dir, "db"), *words)
        self.addCleanup(server.stop)
        return server

    def bench(self, server, *words, code=0):
        p = subprocess.run([VARVE, "bench", "--server", server.address if server else "127.0.0.1:1", *words],
                           capture_output=True, text=True, env=clean_env(), timeout=120)
        self.assertEqual(p.returncode, code, f"{words}: {p.stdout}{p.stderr}")
        return p.stdout if code in (0, 5) else p.stderr

    def figures(self, server, *words, code=0):
        return json.loads(self.bench(server, *words, "--json", code=code))

    def small(self, server, workload, *words, code=0):
        return self.figures(server, workload, "--keys", str(KEYS), "--count", "300", "--warm-up", "0",
                            "--connections", "4", *words, code=code)

    def load(self, server, *words):
        r = self.figures(server, "load", "--keys", str(KEYS), "--batch", "300", "--sync", "off", *words)
        self.assertEqual((r["rows"], r["requests"], r["failed"]), (KEYS, 7, 0))

    def test_every_workload_over_grpc(self):
        s = self.serve()
        self.load(s)
        for workload in "A B C D E F get put insert rmw scan batch".split():
            with self.subTest(workload):
                r = self.small(s, workload, "--in-flight", "4", "--batch", "10", "--sync", "off")
                self.assertEqual((r["requests"], r["failed"], r["errors"]), (300, 0, []))
                self.assertGreaterEqual(r["rows"], 300)
                self.assertEqual(r["latency_ns"]["all"]["count"], 300)
                q = [r["latency_ns"]["all"][k] for k in ("min", "p50", "p90", "p99", "p99_9", "p99_99", "max")]
                self.assertEqual(q, sorted(q))
                self.assertGreater(r["rate"], 0)

    def test_what_it_wrote_is_there(self):
        s = self.serve()
        self.load(s, "--value", "500", "--collection", "other one")
        s.stop()
        p = subprocess.run([VARVE, "scan", "other one", "--keys-only", "--data", os.path.join(self.dir, "db")],
                           capture_output=True, text=True, env=clean_env(), timeout=60)
        keys = p.stdout.split()
        self.assertEqual(len(keys), KEYS)
        self.assertTrue(all(re.fullmatch("[0-9a-f]{16}", k) for k in keys))
        self.assertEqual(len(set(keys)), KEYS)

    def test_over_http(self):
        s = self.serve()
        self.load(s)
        sums = set()
        for protocol in ("http", "grpc"):
            r = self.small(s, "get", "--protocol", protocol)
            self.assertEqual((r["failed"], r["rows"]), (0, 300))
            sums.add(r["checksum"])
        self.assertEqual(len(sums), 1)  # both doors answered the same
        for workload in "A D E F insert rmw scan".split():
            with self.subTest(workload):
                r = self.small(s, workload, "--protocol", "http", "--sync", "off")
                self.assertEqual((r["requests"], r["failed"]), (300, 0))
        self.assertIn("in-flight", self.bench(s, "get", "--protocol", "http", "--in-flight", "2", code=2))
        self.assertIn("http has no batch", self.bench(s, "batch", "--protocol", "http", code=2))

    def test_for_people(self):
        s = self.serve()
        self.load(s)
        out = self.bench(s, "B", "--keys", str(KEYS), "--duration", "300ms", "--warm-up", "100ms", "--sync", "off",
                         "--pid", str(s.process.pid))
        for line in ("machine: ", "server: 127.0.0.1:", "load: B, 2,000 keys, zipf, values of 256 B, 16 connections",
                     "rate: ", "latency, us", "  get ", "  put ", "  all, corrected", "errors: none", "checksum: ",
                     f"processor time of {s.process.pid}: "):
            self.assertIn("\n" + line, "\n" + out)

    def test_an_open_loop_keeps_to_its_rate(self):
        s = self.serve()
        self.load(s)
        r = self.figures(s, "get", "--keys", str(KEYS), "--rate", "500", "--duration", "1s", "--warm-up", "200ms")
        self.assertEqual((r["requests"] + r["unsent"], r["failed"]), (500, 0))
        self.assertLess(r["rate"], 510)

    def test_a_stalled_server_shows_in_an_open_loop(self):
        s = self.serve()
        self.load(s)

        def stall():
            time.sleep(0.5)
            s.process.send_signal(19)  # SIGSTOP
            time.sleep(0.5)
            s.process.send_signal(18)

        t = threading.Thread(target=stall)
        t.start()
        r = self.figures(s, "get", "--keys", str(KEYS), "--rate", "1000", "--duration", "1500ms", "--warm-up", "0",
                         "--connections", "2", "--in-flight", "1")
        t.join()
        # A third of all requests fell due while it stood still; at most two of them were on their way.
        self.assertGreater(r["latency_ns"]["all"]["p90"], 200e6)

    def test_errors_are_told_by_kind(self):
        s = self.serve()
        r = self.small(s, "get", code=5)
        self.assertEqual((r["requests"], r["failed"]), (300, 300))
        self.assertEqual([(e["kind"], e["count"]) for e in r["errors"]], [("NOT_FOUND", 300)])
        self.assertEqual((r["rate"], r["latency_ns"]["all"]["count"]), (0, 0))
        r = self.small(s, "get", "--protocol", "http", code=5)
        self.assertEqual([(e["kind"], e["count"]) for e in r["errors"]], [("HTTP 404", 300)])
        self.bench(None, "get", code=5)  # nobody listens

    def test_wrong_words(self):
        for words, said in (
            ((), "a workload is missing"),
            (("G",), "no workload 'G'"),
            (("get", "put"), "one workload"),
            (("get", "--conections", "3"), "is --connections meant?"),
            (("get", "--keys"), "--keys needs a value"),
            (("get", "--keys", "x"), "--keys: 'x'"),
            (("get", "--keys", "0"), "keys: at least 1"),
            (("get", "--json=yes"), "takes no value"),
            (("get", "--sync", "maybe"), "none of"),
            (("get", "--duration", "5 parsecs"), "--duration"),
            (("get", "--value", "7"), "value: 7 bytes"),
            (("get", "--user", "alice"), "--password-file"),
            (("get", "--tls-name", "x"), "need --tls"),
        ):
            with self.subTest(words):
                self.assertIn(said, self.bench(None, *words, code=2))
        help_text = subprocess.run([VARVE, "bench", "--help"], capture_output=True, text=True, check=True).stdout
        self.assertIn("YCSB F", help_text)
        self.assertIn("--in-flight N", help_text)

    @unittest.skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls_and_tokens(self):
        key, cert, token = (os.path.join(self.dir, x) for x in ("key", "cert", "token"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
                        "-out", cert], check=True, capture_output=True)
        data = ("--data", os.path.join(self.dir, "db"))
        made = subprocess.run([VARVE, "token", "create", "bench", "write:*", *data], capture_output=True, text=True,
                              check=True, env=clean_env()).stdout
        with open(token, "w") as f:
            f.write(made.split()[0] + "\n")
        subprocess.run([VARVE, "user", "add", "bob", "read:*", *data], input="a long password\n", text=True, check=True,
                       capture_output=True, env=clean_env())
        password = os.path.join(self.dir, "password")
        with open(password, "w") as f:
            f.write("a long password\n")
        s = self.serve("--tls-cert", cert, "--tls-key", key, "--auth")
        with_token = ("--tls-ca", cert, "--token-file", token)
        self.load(s, *with_token)
        for protocol in ("grpc", "http"):
            r = self.small(s, "A", "--protocol", protocol, "--sync", "off", *with_token)
            self.assertEqual((r["failed"], r["tls"]), (0, True))
        r = self.small(s, "scan", "--rows", "500", "--in-flight", "2", *with_token)  # many TLS records an answer
        self.assertEqual(r["failed"], 0)
        r = self.small(s, "get", "--tls-ca", cert, "--user", "bob", "--password-file", password)
        self.assertEqual(r["failed"], 0)
        r = self.small(s, "get", "--tls-ca", cert, code=5)
        self.assertEqual(r["errors"][0]["kind"], "UNAUTHENTICATED")
        r = self.small(s, "put", "--tls-ca", cert, "--user", "bob", "--password-file", password, code=5)
        self.assertEqual(r["errors"][0]["kind"], "PERMISSION_DENIED")
        self.bench(s, "get", "--tls", code=5)  # nobody vouches for its certificate
        self.bench(s, "get", "--count", "40", "--warm-up", "0", code=5)  # TLS is not spoken


unittest.main(verbosity=0)
