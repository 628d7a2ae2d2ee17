"""What only a server has: finding it, logging in, TLS, deadlines, answers that are lost, and servers that die."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from cli_case import VARVE, CliCase, Server, main


class Proxy:
    """Passes bytes on to a server. `cut(to_server, to_client)` is asked before each piece; True ends the connection."""

    def __init__(self, port, cut=lambda up, down: False):
        self.to, self.cut, self.cuts = port, cut, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self.both, args=(client, server), daemon=True).start()

    def both(self, client, server):
        count = [0, 0]
        up = threading.Thread(target=self.pump, args=(client, server, 0, count), daemon=True)
        up.start()
        self.pump(server, client, 1, count)
        up.join()
        client.close()
        server.close()

    def pump(self, a, b, way, count):
        try:
            while True:
                data = a.recv(8192)
                if not data:
                    break
                count[way] += len(data)
                if self.cut(*count):
                    self.cuts += 1
                    break
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class RemoteCase(CliCase):
    def setUp(self):
        super().setUp()
        self.env.pop("VARVE_DATA", None)
        self.env["HOME"] = self.dir

    def serve(self, *words, port=0):
        self.server = Server(self.path("db"), *words, port=port)
        self.addCleanup(self.server.stop)
        self.env["VARVE_SERVER"] = self.server.address
        return self.server

    def proxy(self, cut):
        proxy = Proxy(self.server.port, cut)
        self.addCleanup(proxy.listener.close)
        return proxy

    def rows(self, n, size=100):
        return self.write("rows.ndjson", "".join('{"_key":"k%06d","t":"%s"}\n' % (i, "x" * size) for i in range(n)))

    def start(self, *args):
        return subprocess.Popen([VARVE, *args], cwd=self.dir, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)


class Places(RemoteCase):
    def test_unknown_server(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        begun = time.monotonic()
        self.varve("get", "a/b", "--server", "127.0.0.1:%d" % port, code=5)
        self.assertEqual(self.err, "varve: a/b: 127.0.0.1:%d: cannot connect: Connection refused\n" % port)
        self.assertLess(time.monotonic() - begun, 5)
        self.varve("get", "a/b", "--server", "no-such-host.invalid", code=5)
        self.assertIn("no-such-host.invalid", self.err)
        for bad in ("", ",", "127.0.0.1:1,", "127.0.0.1:notaport"):
            self.assertIn(self.run_varve("get", "a/b", "--server", bad).returncode, (2, 5), bad)

    def test_what_is_no_server(self):
        def answer(text):
            with socket.create_server(("127.0.0.1", 0)) as s:
                self.env["VARVE_SERVER"] = "127.0.0.1:%d" % s.getsockname()[1]
                p = self.start("get", "a/b")
                c, _ = s.accept()
                c.recv(1000)
                c.sendall(text)
                c.close()
                err = p.communicate(timeout=60)[1]
                self.assertEqual(p.returncode, 5, err)
                return err
        for text in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"\x15\x03\x01\0\2\2\x46",
                     b"\0" * 1000):
            begun = time.monotonic()
            self.assertIn("varve: a/b: 127.0.0.1:", answer(text))
            self.assertLess(time.monotonic() - begun, 8, text)

    def test_the_next_of_several(self):
        s = self.serve()
        with socket.create_server(("127.0.0.1", 0)) as free:
            dead = "127.0.0.1:%d" % free.getsockname()[1]
        self.varve("put", "a/b", '{"n":1}', "--server", dead + "," + s.address)
        self.assertEqual(self.get("a/b", "--server", "localhost:%d,%s" % (s.port, dead)), {"n": 1})

    def test_folder_or_server(self):
        s = self.serve()
        self.put("a/b", {"where": "server"})
        self.varve("put", "a/b", '{"where":"folder"}', "--data", self.path("other"))
        self.assertEqual(self.get("a/b"), {"where": "server"})
        self.env["VARVE_DATA"] = self.path("other")
        self.assertEqual(self.get("a/b"), {"where": "server"})
        self.assertEqual(self.get("a/b", "--data", self.path("other")), {"where": "folder"})
        self.varve("get", "a/b", "--data", "x", "--server", s.address, code=2)
        self.assertIn("exclude each other", self.err)
        self.varve("user", "list", "--server", s.address, code=2)
        self.assertIn("works on a folder", self.err)
        self.varve("get", "a/b", "--server", s.address, "--user", "x", "--token-file", "y", code=5)

    def test_profiles(self):
        s = self.serve()
        del self.env["VARVE_SERVER"]
        self.varve("get", "a/b", "--profile", "p", code=2)
        self.assertIn("profile.yaml", self.err)
        os.makedirs(self.path(".config/varve"))
        self.write(".config/varve/profile.yaml", "other:\n  server: 127.0.0.1:1\np:\n  server: %s\n  deadline: 20s\n" % s.address)
        self.varve("put", "a/b", "{}", "--profile", "p")
        self.assertEqual(json.loads(self.varve("get", "a/b", env={"VARVE_PROFILE": "p"})), {})
        self.varve("get", "a/b", "--profile", "q", code=2)
        self.assertIn("there are: other, p", self.err)
        for bad, says in (("p: 3\n", "1:4"), ("p:\n  sever: x\n", "did you mean 'server'"), ("- p\n", "names of profiles"),
                          ("p:\n  server: [a]\n", "plain value"), ("p: {\n", "profile.yaml:"), ("p:\n  tls: true\n", "names no server"),
                          ("p:\n  server: &x a\nq: *x\n", "aliases"),
                          ("p:\n  server: a\nq:\n  server: b\np:\n  user: u\n", "5:1: this profile was there before"),
                          ("p:\n  server: a\n  server: b\n", "this setting was said before")):
            self.write(".config/varve/profile.yaml", bad)
            self.varve("get", "a/b", "--profile", "p", code=2)
            self.assertIn(says, self.err)
        path = self.write(".config/varve/profile.yaml", "p:\n  server: %s\n  token: secret\n" % s.address)
        os.chmod(path, 0o644)
        self.varve("get", "a/b", "--profile", "p", code=5)
        self.assertIn("chmod 600", self.err)
        os.chmod(path, 0o600)
        self.varve("get", "a/b", "--profile", "p")

    def test_shell_stays_at_its_server(self):
        self.serve()
        out = self.varve("shell", stdin='put a/b {"n":1}\nget a/b\nget a/b --server 127.0.0.1:1\nuser list\nget a/b\n', code=2)
        self.assertEqual(out.splitlines()[1:], ['{"n":1}', '{"n":1}'])


class Logins(RemoteCase):
    def secret(self, name, text):
        path = self.write(name, text)
        os.chmod(path, 0o600)
        return path

    def setUp(self):
        super().setUp()
        db = ("--data", self.path("db"))
        self.varve("user", "add", "alice", "write:app-*", *db, stdin="alices password\n")
        self.varve("user", "add", "root", "admin:*", *db, stdin="roots password\n")
        self.token = self.varve("token", "create", "ci", "read:*", *db, "-q").strip().splitlines()[0]
        self.serve("--auth")

    def test_user_and_password(self):
        self.varve("get", "app-x/k", code=5)
        self.assertIn("varve: app-x/k: ", self.err)
        alice = ("--user", "alice", "--password-file", self.secret("pw", "alices password\n"))
        self.varve("put", "app-x/k", '{"n":1}', *alice)
        self.assertEqual(self.get("app-x/k", *alice), {"n": 1})
        self.varve("put", "other/k", '{"n":1}', *alice, code=5)
        self.assertIn("needs the role write", self.err)
        self.varve("get", "app-x/k", "--user", "alice", "--password-file", self.secret("bad", "another one\n"), code=5)
        self.assertIn("credentials are not valid", self.err)
        self.varve("get", "app-x/k", "--user", "alice", code=2)  # no terminal to ask at
        self.assertIn("--password-file", self.err)
        os.chmod(self.path("pw"), 0o640)
        self.varve("get", "app-x/k", *alice, code=5)
        self.assertIn("chmod 600", self.err)

    def test_token(self):
        root = ("--user", "root", "--password-file", self.secret("pw", "roots password"))
        self.varve("put", "x/k", '{"n":1}', *root)
        self.assertEqual(json.loads(self.varve("get", "x/k", env={"VARVE_TOKEN": self.token})), {"n": 1})
        self.assertEqual(self.get("x/k", "--token-file", self.secret("token", self.token + "\n")), {"n": 1})
        self.varve("put", "x/k", "{}", env={"VARVE_TOKEN": self.token}, code=5)
        self.varve("put", "x/k", "{}", *root, env={"VARVE_TOKEN": self.token})  # said nearer
        self.varve("get", "x/k", env={"VARVE_TOKEN": "varve_no"}, code=5)
        self.assertIn("credentials", self.err)

    def test_import_without_a_place_to_resume_at(self):
        alice = ("--user", "alice", "--password-file", self.secret("pw", "alices password\n"))
        self.assertIn("2 rows", self.varve("import", "app-x", self.rows(2), *alice))
        self.assertIn("write:_varve.imports", self.err)
        self.varve("import", "app-x", self.rows(2), "--resume", *alice, code=5)
        root = ("--user", "root", "--password-file", self.secret("pw2", "roots password\n"))
        self.varve("import", "app-x", self.rows(2), *root)
        self.assertEqual(self.err, "")


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Tls(RemoteCase):
    def certificate(self, name, host="DNS:localhost"):
        key, cert = self.path(name + ".key"), self.path(name + ".crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=" + host, "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        return key, cert

    def test_who_the_server_is(self):
        key, cert = self.certificate("server")
        _, other = self.certificate("other")
        s = self.serve("--tls-cert", cert, "--tls-key", key)
        at = ("--server", "localhost:%d" % s.port)
        self.varve("put", "a/b", '{"n":1}', *at, "--ca", cert)
        self.assertEqual(self.get("a/b", *at, "--ca", cert), {"n": 1})
        self.varve("import", "t", self.rows(3000), *at, "--ca", cert)
        self.assertEqual(len(self.varve("scan", "t", "--keys-only", *at, "--ca", cert).splitlines()), 3000)
        begun = time.monotonic()
        self.varve("get", "a/b", *at, "--ca", other, code=5)  # signed by somebody else
        self.assertIn("certificate", self.err)
        self.varve("get", "a/b", *at, "--tls", code=5)  # nobody the system believes
        self.assertIn("certificate", self.err)
        self.varve("get", "a/b", "--ca", cert, code=5)  # 127.0.0.1 is not its name
        self.assertIn("certificate", self.err)
        self.varve("get", "a/b", *at, code=5)
        self.assertIn("TLS", self.err)
        self.assertLess(time.monotonic() - begun, 10)
        self.varve("get", "a/b", *at, "--ca", self.path("missing.pem"), code=5)
        self.assertIn("missing.pem", self.err)

    def test_a_server_without_tls(self):
        s = self.serve()
        self.varve("get", "a/b", "--server", "localhost:%d" % s.port, "--tls", code=5)
        self.assertIn("TLS", self.err)

    def test_our_certificate(self):
        key, cert = self.certificate("server")
        my_key, my_cert = self.certificate("me")
        s = self.serve("--tls-cert", cert, "--tls-key", key, "--tls-client", "required", "--tls-client-ca", my_cert)
        at = ("--server", "localhost:%d" % s.port, "--ca", cert)
        self.varve("put", "a/b", '{"n":1}', *at, "--cert", my_cert, "--cert-key", my_key)
        self.varve("put", "a/b", '{"n":1}', *at, code=5)


class Time(RemoteCase):
    def test_deadline(self):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            begun = time.monotonic()
            self.varve("get", "a/b", "--server", "127.0.0.1:%d" % deaf.getsockname()[1], "--deadline", "300ms", code=5)
            self.assertLess(time.monotonic() - begun, 3)
            self.assertIn("deadline", self.err)
            self.varve("put", "a/b", "{}", "--server", "127.0.0.1:%d" % deaf.getsockname()[1], "--deadline", "300ms", code=5)
            self.assertIn("whether it was written is not known", self.err)

    def test_ctrl_c_while_nobody_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            self.env["VARVE_SERVER"] = "127.0.0.1:%d" % deaf.getsockname()[1]
            p = self.start("get", "a/b", "--deadline", "0s")
            talk, _ = deaf.accept()
            time.sleep(0.2)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=10)
            talk.close()
            self.assertEqual(p.returncode, 130)


class Losses(RemoteCase):
    """Connections that end at any byte, and servers that die."""

    def test_a_write_whose_answer_is_lost_is_done_once(self):
        """The answer comes at the third try; each carries the same id."""
        self.serve()
        self.put("a/b", {"n": 0})
        tries, armed, seen = [], threading.Event(), [0, 0]

        def cut(up, down):  # an answer, once the put has gone to the server
            if not armed.is_set():
                seen[:] = up, down
            elif len(tries) < 2 and up > seen[0] and down > seen[1]:
                tries.append(down)
                seen[:] = 100, 0
                return True
            return False

        shell = subprocess.Popen([VARVE, "shell", "--server", self.proxy(cut).address], cwd=self.dir, env=self.env, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shell.stdin.write("get a/b\n")
        shell.stdin.flush()
        self.assertEqual(json.loads(shell.stdout.readline()), {"n": 0})
        armed.set()
        said = shell.communicate("put a/b '{\"n\":1}'\n", timeout=60)
        self.assertEqual([shell.returncode, said[1]], [0, ""])
        self.assertEqual(len(tries), 2)
        self.assertEqual([json.loads(self.varve("get", "a/b"))["n"], len(self.lines("log", "a/b", "--json"))], [1, 2])

    def test_a_delete_whose_answer_is_lost_is_not_sent_again(self):
        self.serve()
        self.put("a/b", {"n": 0})
        proxy = self.proxy(lambda up, down: up > 100 and down > 0)
        self.varve("delete", "a/b", "--server", proxy.address, code=5)
        self.assertIn("whether it was written is not known", self.err)
        self.assertLessEqual(len(self.lines("log", "a/b", "--json")), 2)

    def test_reads_go_on_where_they_were(self):
        self.serve()
        self.varve("import", "t", self.rows(20000), "--sync", "off")
        expected = [json.loads(line) for line in self.read("rows.ndjson").splitlines()]
        rng = random.Random(1)
        limit = [0, 0]

        def cut(up, down):
            if down > limit[0] and limit[1] < 6:
                limit[0], limit[1] = rng.randrange(100_000, 1_500_000), limit[1] + 1
                return True
            return False
        limit[0] = 300_000
        proxy = self.proxy(cut)
        got = [json.loads(line) for line in self.varve("export", "t", "--server", proxy.address).splitlines()]
        self.assertEqual(got, expected)
        self.assertGreater(proxy.cuts, 2)
        limit[:] = [100_000, 0]
        changes = self.lines("changes", "--json", "--collection", "t", "--server", proxy.address)
        self.assertEqual([c["key"] for c in changes], [e["_key"] for e in expected])

    def test_an_import_whose_answers_are_lost_writes_every_row_once(self):
        self.serve()
        rng = random.Random(2)
        state = {"left": 25}

        def cut(up, down):
            if state["left"] and up > 20_000 and rng.random() < 0.3:
                state["left"] -= 1
                return True
            return False
        proxy = self.proxy(cut)
        self.varve("import", "t", self.rows(5000), "--batch", "100", "--sync", "off", "--server", proxy.address)
        self.assertGreater(proxy.cuts, 5)
        changes = self.lines("changes", "--json", "--collection", "t")
        self.assertEqual([c["key"] for c in changes], ["k%06d" % i for i in range(5000)])

    def test_a_server_killed_amid_an_import_and_started_again(self):
        s = self.serve()
        port = s.port
        p = self.start("import", "t", self.rows(60000, 300), "--batch", "500", "--json")
        for _ in range(3):
            time.sleep(0.25)
            s.stop(signal.SIGKILL)
            s = self.serve(port=port)
        out, err = p.communicate(timeout=100)
        self.assertEqual(p.returncode, 0, err)
        self.assertEqual(json.loads(out)["rows"], 60000)
        changes = self.lines("changes", "--json", "--collection", "t")
        self.assertEqual([c["key"] for c in changes], ["k%06d" % i for i in range(60000)])

    def test_a_watch_hears_on_after_a_restart(self):
        s = self.serve()
        for name, verb in (("t", ("watch",)), ("u", ("changes", "--follow"))):
            self.put(name + "/0", {})
            p = self.start(*verb, "--json", "--collection", name, "--limit", "4")
            for i in range(1, 4):
                self.assertEqual(json.loads(p.stdout.readline())["key"], str(i - 1))
                self.varve("put", "%s/%d" % (name, i), "{}")
                s.stop(random.choice((signal.SIGKILL, signal.SIGTERM)))
                s = self.serve(port=s.port)
            self.assertEqual(json.loads(p.communicate(timeout=30)[0])["key"], "3")
            self.assertEqual(p.returncode, 0)


if __name__ == "__main__":
    main()
