"""The door behind `varve serve`: over TLS, with the users and tokens that the command has put into the folder."""
import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

from http_case import HttpCase, Schema
from test_errors import check_prometheus

VARVE = sys.argv[1] if len(sys.argv) > 1 else ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Serve(unittest.TestCase):
    plain = False

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="varve-http-serve-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.cert, self.key = os.path.join(self.dir, "cert.pem"), os.path.join(self.dir, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                        "-out", self.cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)

    def varve(self, *args, stdin=""):
        p = subprocess.run([VARVE, *args, "--data", self.dir + "/db"], input=stdin.encode(), capture_output=True, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout.decode().strip()

    def start(self, *args):
        self.port = free_port()
        log = open(os.path.join(self.dir, "log"), "ab")
        self.server = subprocess.Popen([VARVE, "serve", "--data", self.dir + "/db", "--listen", "127.0.0.1:%d" % self.port, *args],
                                       stderr=log, stdout=log)
        log.close()
        self.addCleanup(self.stop)
        deadline = time.time() + 30
        while True:
            try:
                return self.request("GET", "/readyz")
            except OSError:
                self.assertIsNone(self.server.poll(), self.log())
                self.assertLess(time.time(), deadline)
                time.sleep(0.05)

    def stop(self):
        if self.server.poll() is None:
            self.server.terminate()
        self.assertEqual(self.server.wait(60), 0, self.log())

    def log(self):
        with open(os.path.join(self.dir, "log")) as f:
            return f.read()

    def request(self, method, path, body=None, headers=None):
        if self.plain:
            c = http.client.HTTPConnection("localhost", self.port, timeout=30)
        else:
            context = ssl.create_default_context(cafile=self.cert)
            c = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def by_name(self, method, path, host, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.putrequest(method, path, skip_host=True)
        c.putheader("Host", host)
        c.endheaders()
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def test_a_name_that_was_made_to_mean_this_machine(self):
        self.plain = True
        self.start()
        for host in ("localhost", "LocalHost:7878", "db.localhost:1", "127.0.0.1:%d" % self.port, "[::1]:7878", "127.0.0.2", "localhost.",
                     "[::1]", "[::ffff:127.0.0.1]:1"):
            self.assertEqual(self.by_name("GET", "/v1/collections", host)[0], 200, host)
        for host in ("evil.example", "evil.example:%d" % self.port, "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost", "",
                     ".", "localhost.."):
            status, data = self.by_name("GET", "/v1/collections", host)
            self.assertEqual(status, 403, host)
            self.assertIn("--insecure", json.loads(data)["detail"])
            self.assertEqual(self.by_name("GET", "/livez", host)[0], 200)
        for host in ("[evil]", "[::1", "[]", "[::1]x", "[fe80::1%25eth0]", "localhost:http", "localhost:1:2", "[127.0.0.1]:1"):
            status, data = self.by_name("GET", "/v1/collections", host)
            self.assertEqual((status, json.loads(data)["field"]), (400, "host"), host)
        with socket.create_connection(("127.0.0.1", self.port), 20) as s: # HTTP/1.0 need not say a name: then it is none
            s.sendall(b"GET /v1/collections HTTP/1.0\r\n\r\n")
            self.assertIn(b" 403 ", b"".join(iter(lambda: s.recv(65536), b"")).split(b"\r\n")[0])
        self.stop()
        self.start("--insecure")
        self.assertEqual(self.by_name("GET", "/v1/collections", "db.example")[0], 200)

    def test_users_and_tokens_of_the_folder(self):
        self.varve("user", "add", "alice", "write:app-*", stdin="open sesame\n")
        self.varve("user", "add", "root", "admin:*", stdin="the admin's own\n")
        token = self.varve("token", "create", "ci", "read:*")
        self.start("--tls-cert", self.cert, "--tls-key", self.key, "--auth")
        basic = lambda text: {"Authorization": "Basic " + base64.b64encode(text.encode()).decode(), "Content-Type": "application/json"}
        alice, bearer = basic("alice:open sesame"), {"Authorization": "Bearer " + token}
        self.assertEqual(self.request("PUT", "/v1/app-x/k", b'{"n":1}')[0], 401)
        self.assertEqual(self.request("PUT", "/v1/app-x/k", b'{"n":1}', alice)[0], 200)
        self.assertEqual(self.request("PUT", "/v1/other/k", b'{"n":1}', alice)[0], 403)
        self.assertEqual(self.request("GET", "/v1/app-x/k", headers=bearer), (200, b'{"n":1}\n'))
        self.assertEqual(self.request("PUT", "/v1/app-x/k", b'{}', dict(alice, **bearer))[0], 403)
        history = json.loads(self.request("GET", "/v1/app-x/k/history", headers=bearer)[1])
        self.assertEqual(history["items"][0]["writer"], "alice")
        status, text = self.request("GET", "/metrics", headers=basic("root:the admin's own"))
        self.assertEqual(status, 200)
        check_prometheus(self, text.decode())
        self.assertEqual(self.request("GET", "/metrics", headers=alice)[0], 403)
        self.assertEqual(self.request("POST", "/v1/admin/checkpoint", headers=basic("root:the admin's own"))[0], 200)
        alone, = json.loads(self.request("GET", "/v1/admin/topology", headers=basic("root:the admin's own"))[1])["nodes"]
        version = subprocess.run([VARVE, "--version"], capture_output=True, check=True).stdout.decode()
        self.assertEqual(alone["address"], "127.0.0.1:%d" % self.port)
        self.assertIn(alone["version"] or "none", version)
        schema = Schema(json.loads(self.request("GET", "/openapi.json")[1]))
        self.assertEqual(schema.errors(history, {"$ref": "#/components/schemas/HistoryPage"}), [])
        self.stop()
        log = self.log()
        for secret in ("sesame", token, "admin's own", alice["Authorization"][6:]):
            self.assertNotIn(secret, log)
        audit = [json.loads(line) for line in log.splitlines() if '"audit"' in line]
        self.assertTrue(any(a["msg"] == "denied" and a["user"] == "alice" and a["collection"] == "other" for a in audit), audit)
        self.assertTrue(any(a["msg"] == "allowed" and a["verb"] == "checkpoint" for a in audit), audit)
        # Taken back, it counts as soon as the server has the folder again.
        self.varve("token", "revoke", token[6:22])
        self.start("--tls-cert", self.cert, "--tls-key", self.key, "--auth")
        self.assertEqual(self.request("GET", "/v1/app-x/k", headers=bearer)[0], 401)
        self.assertEqual(self.request("GET", "/v1/app-x/k", headers=alice)[0], 200)


if __name__ == "__main__":
    del HttpCase
    unittest.main(argv=[__file__])
