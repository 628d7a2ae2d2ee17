"""What the tests of `varve serve` share: a server as a process, its log lines, requests, and a test case that ends it."""
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

VARVE = sys.argv.pop(1)


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("VARVE_") and k != "NOTIFY_SOCKET"}
    env.update(more)
    return env


class Server:
    """A server on a port of its own; log lines are collected as they come."""

    def __init__(self, folder, *words, env=None, args=("serve",)):
        words = list(words)
        if not any(w.startswith("--listen") for w in words):
            words += ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [VARVE, *args, "--data", folder, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=clean_env(**(env or {})))
        self.lines = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.port = int(self.line("listening")["address"].split(",")[0].rsplit(":", 1)[1])

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.lines.append({"msg": line.strip()})
                self.changed.notify_all()
        with self.changed:
            self.lines.append({"msg": "the end"})
            self.changed.notify_all()

    def line(self, message, timeout=60):
        """The first line that begins with it; waits for it."""
        with self.changed:
            until = time.monotonic() + timeout
            while True:
                for line in self.lines:
                    if line["msg"].startswith(message):
                        return line
                if self.lines and self.lines[-1]["msg"] == "the end" or time.monotonic() > until:
                    raise AssertionError(f"no line {message!r}: {self.lines}")
                self.changed.wait(1)

    def ask(self, method, path, body=None, headers=None, connection=None):
        c = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.request(method, path, body, headers or {})
        answer = c.getresponse()
        data = answer.read()
        if not connection:
            c.close()
        return answer.status, data

    def put(self, key, value):
        return self.ask("PUT", f"/v1/t/{key}", json.dumps(value), {"content-type": "application/json"})

    def stop(self, signo=signal.SIGTERM, timeout=60):
        self.process.send_signal(signo)
        code = self.process.wait(timeout)
        self.reader.join(timeout)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class ServerCase(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="varve-server-")
        self.data = os.path.join(self.dir, "db")
        self.servers = []

    def tearDown(self):
        for s in self.servers:
            if s.process.poll() is None:
                s.process.kill()
                s.process.wait()
                s.reader.join(10)
            s.process.stdout.close()
            s.process.stderr.close()
        shutil.rmtree(self.dir)

    def serve(self, *words, **more):
        s = Server(self.data, *words, **more)
        self.servers.append(s)
        return s

    def fails(self, *words, env=None):
        done = subprocess.run([VARVE, *words], capture_output=True, text=True, env=clean_env(**(env or {})),
                              timeout=60)
        self.assertNotEqual(done.returncode, 0)
        return done.returncode, done.stderr
