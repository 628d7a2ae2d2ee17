"""What the tests of the command share: a folder for each test, and running the binary in it."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

VARVE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""


class CliCase(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="varve-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("VARVE_") and k != "NO_COLOR"}
        self.env["VARVE_DATA"] = self.path("db")

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
