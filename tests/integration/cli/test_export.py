"""export: what it writes, import reads back; and resuming."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from cli_case import VARVE, CliCase, main

KILLS = """/* Kills the process before the Nth time that a file "o", or its note, is cut or synced. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void point(int fd)
{
    static int n;
    char link[64], to[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    (void)!readlink(link, to, sizeof to - 1);
    char *name = strrchr(to, '/');
    if (name && (!strcmp(name, "/o") || !strncmp(name, "/o.", 3)) && ++n == atoi(getenv("KILL_AT")))
        raise(SIGKILL);
}
int ftruncate(int fd, off_t len)
{
    point(fd);
    return (int)syscall(SYS_ftruncate, fd, len);
}
int fsync(int fd)
{
    point(fd);
    return (int)syscall(SYS_fsync, fd);
}
int fdatasync(int fd)
{
    point(fd);
    return (int)syscall(SYS_fdatasync, fd);
}
"""


class RoundTrip(CliCase):
    def setUp(self):
        super().setUp()
        self.varve("put", "t/plain", '{"n":1,"s":"x"}')
        self.varve("put", "t/empty", "{}")
        self.varve("put", "t/nested", '{"a":{"b":[1,2.5,null,true,{"c":"d"}]},"u":"Jürgen 木\\n\\"q\\""}')
        self.varve("put", "t/a\\x00\\xff", '{"binary":"key"}', "-e")
        self.varve("put", "t/raw", "--raw", "some text")
        self.varve("put", "t/bytes", "-", "--raw", stdin=bytes(range(256)))
        self.varve("put", "t/rawempty", "-", "--raw", stdin=b"")
        self.varve("put", "t/haskey", '{"_key":"other","n":1}')
        self.varve("put", "t/hasraw", '{"_raw":"x"}')
        self.varve("put", "t/hasdoc", '{"_doc":{"a":1}}')
        self.varve("put", "t/types", '{"l":{"$numberLong":"5"},"d":{"$date":"2026-01-02T03:04:05Z"},"f":5.0}')

    def canonical(self, collection):
        return self.lines("scan", collection, "--json", "--canonical")

    def same(self, a, b, canonical=True):
        strip = lambda rows: [{k: r[k] for k in ("key", "value")} for r in rows]
        get = self.canonical if canonical else lambda c: self.lines("scan", c, "--json")
        self.assertEqual(strip(get(a)), strip(get(b)))

    def test_ndjson(self):
        self.varve("export", "t", "out.ndjson")
        self.assertFalse(os.path.exists(self.path("out.ndjson.varve-export")))
        self.varve("import", "u", "out.ndjson")
        self.same("t", "u", canonical=False)
        self.varve("get", "u/bytes")
        self.assertEqual(self.out, bytes(range(256)))

    def test_ndjson_canonical_through_a_pipe(self):
        text = self.varve("export", "t", "--canonical")
        self.varve("import", "u", "-", stdin=text)
        self.same("t", "u")

    def test_key_field(self):
        self.varve("import", "p", "-", "--key", "id", stdin='{"id":"a","n":1}\n{"n":2,"id":5}\n')
        text = self.varve("export", "p", "--key", "id")
        self.assertEqual(text, '{"n":2,"id":5}\n{"id":"a","n":1}\n')
        self.varve("import", "q", "-", "--key", "id", stdin=text)
        self.same("p", "q")
        self.varve("put", "p/b", '{"id":"not b"}')
        self.varve("export", "p", "--key", "id", code=5)
        self.assertIn("'b'", self.err)

    def test_nested_key_field(self):
        self.put("p/a", {"o": {"id": "a"}})
        self.put("p/b", {"o": {"id": "not b"}})
        self.put("p/c", {"n": 1})
        text = self.varve("export", "p", "--key", "o.id")
        self.assertEqual(text, '{"o":{"id":"a"}}\n{"o.id":"b","o":{"id":"not b"}}\n{"o.id":"c","n":1}\n')
        self.varve("import", "q", "-", "--key", "o.id", stdin=text)
        self.assertEqual(list(self.scan("q")), ["a", "b", "c"])

    def test_values_at_the_limits(self):
        """A key stands beside each: that must not make the row one that nobody may read."""
        most = 16 * 1024 * 1024
        self.varve("put", "l/zeros", "-", "--raw", stdin=bytes(most))  # text, but six times as long in JSON
        self.varve("put", "l/doc", "-", stdin='{"s":"%s"}' % ("x" * (most - 13)))
        self.varve("put", "l/wrapped", "-", stdin='{"_raw":"%s"}' % ("x" * (most - 16)))
        self.varve("put", "l/deep", "-", stdin='{"_key":' * 100 + "1" + "}" * 100)
        self.varve("export", "l", "out.ndjson")
        self.varve("import", "m", "out.ndjson")
        for key in ("zeros", "doc", "wrapped", "deep"):
            self.varve("get", "l/" + key)
            was = self.out
            self.varve("get", "m/" + key)
            self.assertTrue(self.out == was, key)

    def test_rows_past_the_limits(self):
        """The room for the key is not the value's."""
        most = 16 * 1024 * 1024
        too_much = ('{"_key":"a","s":"%s"}' % ("x" * (most - 12)), '{"_key":"b","_raw":"%s"}' % ("x" * (most + 1)),
                    '{"a":' * 101 + "1" + "}" * 101, '{"_key":"c","a":' + '{"a":' * 100 + "1" + "}" * 101)
        rows = "\n".join((*too_much, '{"_key":"z"}'))
        self.assertIn("1 row imported", self.varve("import", "t", "-", "--on-error", "skip", stdin=rows))
        for line in range(1, 5):
            self.assertIn("line %d: " % line, self.err)
        self.assertIn("line 1: a document of 16777217 bytes, over the limit", self.err)
        self.assertIn("100 levels", self.err)

    def test_csv(self):
        docs = {"1": {"a": "x", "b": "with, comma", "c": 'q"uote'}, "2": {"a": "", "b": "line\nend"},
                "3": {"b": "12"}, "4": {"n": 12, "f": 1.5, "t": True}, "5": {}}
        for k, d in docs.items():
            self.put("c/" + k, d)
        text = self.varve("export", "c", "--format", "csv")
        self.assertEqual(text.splitlines()[0], "_key,a,b,c,n,f,t")
        self.varve("import", "d", "-", "--format", "csv", "--infer", stdin=text)
        self.assertEqual(self.scan("d"), docs)

    def test_csv_refuses_what_it_cannot_hold(self):
        for key in ("raw", "a\\x00\\xff"):
            self.varve("export", "t", "--format", "csv", code=5)
        self.put("k/a", {"_key": "z"})
        self.varve("export", "k", "--format", "csv", code=5)
        self.assertIn("--key", self.err)

    def test_at(self):
        v = self.put("m/a", {"n": 1})
        self.put("m/a", {"n": 2})
        self.assertEqual(self.varve("export", "m", "--at", v), '{"_key":"a","n":1}\n')
        self.varve("snapshot", "create", "s", "--at", v)
        self.assertEqual(self.varve("export", "m", "-", "--at", "@s"), '{"_key":"a","n":1}\n')
        self.assertEqual(self.varve("export", "nowhere"), "")


    def test_what_has_expired(self):
        """Also where nothing was written since it did."""
        self.put("e/kept", {"n": 1})
        v = self.varve("put", "e/gone", '{"n":2}', "--ttl", "50ms").strip()
        time.sleep(0.2)
        self.assertEqual(self.varve("export", "e"), '{"_key":"kept","n":1}\n')
        self.assertEqual(self.varve("export", "e", "--format", "csv"), "_key,n\nkept,1\n")
        self.assertIn('"gone"', self.varve("export", "e", "--at", v))
        self.varve("export", "e", "o")
        self.assertEqual(self.read("o").decode(), '{"_key":"kept","n":1}\n')

    def test_a_pipe_by_name(self):
        os.mkfifo(self.path("pipe"))
        reader = subprocess.Popen(["cat", self.path("pipe")], stdout=subprocess.PIPE)
        self.varve("export", "t", "pipe")
        self.assertEqual(reader.communicate(timeout=30)[0].decode(), self.varve("export", "t"))
        self.assertFalse(os.path.exists(self.path("pipe.varve-export")))
        self.varve("export", "t", "pipe", "--resume", code=2)
        self.assertIn("pipe", self.err)


class Resume(CliCase):
    ROWS = 3000

    def fill(self):
        self.write("d", "".join('{"_key":"k%05d","n":%d,"t":"a\\nb, %d"}\n' % (i, i, i) for i in range(self.ROWS)))
        self.varve("import", "t", "d", "--sync", "off")

    def torn(self, form):
        """A whole export, cut anywhere, with its note: what a kill leaves."""
        self.fill()
        name = "out." + form
        self.varve("export", "t", name)
        whole = self.read(name)
        self.varve("put", "t/k00001", '{"changed":"since"}')
        self.varve("put", "t/zzz", '{"new":1}')
        moment = self.lines("changes", "--json", "--collection", "t", "--limit", str(self.ROWS))[-1]["version"]
        note = {"collection": "t", "key": "_key", "at": moment, "format": form, "canonical": False}
        cuts = [0, 1, len(whole) - 1, len(whole)] + [len(whole) * i // 11 for i in range(1, 11)]
        for cut in cuts:
            with self.subTest(form=form, cut=cut):
                self.write(name, whole[:cut])
                self.write(name + ".varve-export", json.dumps(note))
                self.varve("export", "t", name, "--resume")
                self.assertEqual(self.read(name), whole)
                self.assertFalse(os.path.exists(self.path(name + ".varve-export")))

    def test_ndjson(self):
        self.torn("ndjson")

    def test_csv(self):
        self.torn("csv")

    def test_kill_9(self):
        self.fill()
        self.varve("export", "t", "whole.ndjson")
        for i in range(4):
            p = subprocess.Popen([VARVE, "export", "t", "out.ndjson", "--resume"], cwd=self.dir, env=self.env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.005 * (i + 1))
            p.send_signal(signal.SIGKILL)
            p.wait()
        self.varve("export", "t", "out.ndjson", "--resume")
        self.assertEqual(self.read("out.ndjson"), self.read("whole.ndjson"))

    @unittest.skipUnless(shutil.which("cc"), "needs a C compiler")
    def test_killed_over_an_earlier_export(self):
        """What the file held before is none of the new export, wherever that was stopped."""
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.path("kills.so"), self.write("kills.c", KILLS)], check=True)
        env = {"LD_PRELOAD": self.path("kills.so"), "KILL_AT": "0"}
        if self.run_varve("--version", env=env).returncode:
            self.skipTest("nothing can be loaded before this binary")
        for key in "abc":
            self.put("s/" + key, {"day": 1})
        earlier = self.varve("export", "s")
        for key in "abc":
            self.put("s/" + key, {"day": 2})
        now = self.varve("export", "s")
        killed = 0
        while True:
            self.write("o", earlier)
            done = self.run_varve("export", "s", "o", env=dict(env, KILL_AT=str(killed + 1)))
            if done.returncode == 0:
                break
            self.assertEqual(done.returncode, -signal.SIGKILL)
            killed += 1
            if os.path.exists(self.path("o.varve-export")):
                self.varve("export", "s", "o", "--resume")
                self.assertEqual(self.read("o").decode(), now, killed)
            else:
                self.assertEqual(self.read("o").decode(), earlier, killed)  # it had not begun
        self.assertGreater(killed, 2)
        self.assertEqual(self.read("o").decode(), now)

    def test_resume_of_something_else(self):
        self.fill()
        self.write("o.varve-export", '{"collection":"t","key":"_key","at":"now","format":"csv","canonical":false}')
        self.varve("export", "t", "o", "--resume", code=2)
        self.assertIn("--format", self.err)
        self.write("o.varve-export", "garbage")
        self.varve("export", "t", "o", "--resume", code=5)
        self.varve("export", "t", "--resume", code=2)
        self.varve("export", "t", "p", "--resume")
        self.varve("export", "t", "p", "--resume")
        self.assertIn("in full already", self.err)


if __name__ == "__main__":
    main()
