"""What the tests of the command share: a folder for each test, and running the binary in it.

With --server behind the binary the same tests run against `varve serve` over such a folder: what they expect is the same.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

VARVE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
REMOTE = "--server" in sys.argv[2:]
if REMOTE:
    sys.argv.remove("--server")


def folder_only(why):
    """Marks a test of what only a folder has."""
    return unittest.skipIf(REMOTE, why)


class Server:
    """`varve serve` over a folder, on a port of its own unless one is given."""

    def __init__(self, data, *words, env=None, port=0):
        env = {k: v for k, v in (env or os.environ).items() if not k.startswith("VARVE_")}
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([VARVE, "serve", "--data", data, "--listen", "127.0.0.1:%d" % port, *words],
                                        stderr=self.log, stdout=subprocess.DEVNULL, env=env)
        until = time.monotonic() + 60
        while True:
            for line in self.told().splitlines():
                if line.startswith("{") and json.loads(line)["msg"] == "listening":
                    self.address = json.loads(line)["address"]
                    return
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("the server does not start: " + self.told())
            time.sleep(0.01)

    def told(self):
        end = self.log.seek(0, os.SEEK_END)
        text = os.pread(self.log.fileno(), end, 0).decode()
        return text[:text.rfind("\n") + 1]  # whole lines

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    def stop(self, signo=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signo)
        self.process.wait(60)
        self.log.close()


class CliCase(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="varve-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("VARVE_") and k != "NO_COLOR"}
        self.use(self.path("db"))

    def use(self, folder):
        """From here on verbs run in this folder, or at a server that has it."""
        if REMOTE:
            self.server = Server(folder)
            self.addCleanup(self.server.stop)
            self.env["VARVE_SERVER"] = self.server.address
        else:
            self.env["VARVE_DATA"] = folder

    def made_no_folder(self):
        self.assertTrue(REMOTE or not os.path.exists(self.path("db")))

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def run_varve(self, *args, stdin=b"", env=None, binary=VARVE):
        if isinstance(stdin, str):
            stdin = stdin.encode()
        return subprocess.run([binary, *args], input=stdin, capture_output=True, cwd=self.dir,
                              env=dict(self.env, **(env or {})), timeout=120)

    def varve(self, *args, code=0, stdin=b"", env=None):
        """Runs it, checks the exit code, returns standard output as text; the error output is in self.err."""
        p = self.run_varve(*args, stdin=stdin, env=env)
        self.err = p.stderr.decode()
        self.out = p.stdout
        self.assertEqual(p.returncode, code,
                         "varve %s\nstdout: %r\nstderr: %s" % (" ".join(map(repr, args)), p.stdout[-2000:], self.err))
        return p.stdout.decode(errors="surrogateescape")

    def lines(self, *args, **kw):
        """Standard output as a list of JSON values, one a line."""
        return [json.loads(line) for line in self.varve(*args, **kw).splitlines()]

    def put(self, path, doc):
        return self.varve("put", path, json.dumps(doc)).strip()

    def get(self, path, *args):
        return json.loads(self.varve("get", path, *args))

    def scan(self, collection, *args):
        return {row["key"] if isinstance(row["key"], str) else json.dumps(row["key"]): row["value"]
                for row in self.lines("scan", collection, "--json", *args)}


def main():
    if not VARVE:
        sys.exit("usage: %s VARVE-BINARY" % sys.argv[0])
    del sys.argv[1]
    unittest.main(verbosity=0)
