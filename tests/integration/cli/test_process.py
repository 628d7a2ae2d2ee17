"""How it behaves as a process: exit codes, help, completion, locks, pipes, signals."""
import fcntl
import json
import os
import shutil
import signal
import subprocess
import termios
import time

from cli_case import VARVE, CliCase, main

VERBS = ("put get delete scan log diff restore snapshot changes watch import export collections drop retention vacuum verify "
         "stats checkpoint compact shell completion help").split()


class Usage(CliCase):
    def test_help(self):
        text = self.varve("help")
        for verb in VERBS:
            self.assertRegex(text, r"(?m)^  %s " % verb)
            own = self.varve("help", verb)
            self.assertIn("Examples", own)
            self.assertEqual(own, self.varve(verb, "--help"))
            self.assertIn("varve %s" % verb, own)
        for verb in ("serve", "config", "bench", "sim", "user", "token"):  # these take no server, or words of their own
            own = self.varve("help", verb)
            self.assertNotIn("--profile", own)
            self.assertNotIn("with --server", own)
            self.assertIn("-h, --help", own)
            self.assertEqual("-q, --quiet" in own, verb in ("user", "token"))
        self.assertIn("Exit codes", text)
        self.assertEqual(self.varve("--help"), text)
        self.assertGreater(len(self.varve("help", "--all")), 5 * len(text))
        self.assertTrue(all(len(line) < 120 for line in self.varve("help", "--all").splitlines()))
        self.varve("help", "sacn", code=2)

    def test_version(self):
        self.assertRegex(self.varve("--version"), r"^varve \d+\.\d+\.\d+\n$")

    def test_wrong_usage(self):
        for args, says in (((), "verb is missing"), (("sacn",), "did you mean 'scan'"), (("get",), "more arguments"),
                           (("get", "a/b", "c"), "too many"), (("get", "noslash"), "lacks a key"), (("get", "/k"), "collection"),
                           (("get", "a/"), "lacks a key"), (("get", "a/b", "--at"), "needs a value"),
                           (("get", "a/b", "--josn"), "did you mean --json"), (("get", "a/b", "--json=1"), "takes no value"),
                           (("get", "a/b", "--limit", "3"), "not an option of 'get'"), (("get", "-z"), "-z"),
                           (("put", "a/b"), "value is missing"), (("put", "a/b", "{}", "--sync", "maybe"), "--sync"),
                           (("completion", "tcsh"), "tcsh")):
            self.varve(*args, code=2)
            self.assertIn(says, self.err)
            self.assertEqual(self.out, b"")
        self.assertEqual(os.listdir(self.dir), [])

    def test_options_anywhere(self):
        self.varve("--data", self.path("x"), "put", "a/b", '{"n":1}')
        self.assertEqual(json.loads(self.varve("get", "--data=" + self.path("x"), "--", "a/b")), {"n": 1})
        self.assertEqual(json.loads(self.varve("get", "a/b", "-d" + self.path("x"))), {"n": 1})
        self.varve("put", "a/-x", "{}", "-d", self.path("x"))
        self.varve("put", "--raw", "-d", self.path("x"), "--", "a/c", "--raw")
        self.assertEqual(self.varve("get", "a/c", "-d", self.path("x")), "--raw")

    def test_default_folder(self):
        del self.env["VARVE_DATA"]
        self.put("a/b", {"n": 1})
        self.assertTrue(os.path.isdir(self.path("varve-data")))

    def test_no_folder(self):
        for args in (("get", "a/b"), ("scan", "a"), ("log", "a/b"), ("stats",), ("verify",), ("changes",), ("export", "a"),
                     ("delete", "a/b"), ("collections",), ("vacuum",), ("checkpoint",), ("snapshot", "list"), ("drop", "a")):
            self.varve(*args, code=5)
            self.assertIn("--data", self.err)
            self.assertIn("varve put", self.err)
        self.assertFalse(os.path.exists(self.path("db")))

    def test_completion(self):
        for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])):
            text = self.varve("completion", shell)
            for verb in VERBS:
                self.assertRegex(text, r"\b%s\b" % verb)
            if shutil.which(check[0]):
                subprocess.run(check + [self.write("c." + shell, text)], check=True)
        script = self.write("c.bash", self.varve("completion", "bash"))
        got = subprocess.run(["bash", "-c", 'source "$1"; COMP_WORDS=(varve get --a); COMP_CWORD=2; _varve; echo "${COMPREPLY[@]}"',
                              "-", script], capture_output=True, text=True, check=True).stdout
        self.assertEqual(got, "--at\n")
        got = subprocess.run(["bash", "-c", 'source "$1"; COMP_WORDS=(varve che); COMP_CWORD=1; _varve; echo "${COMPREPLY[@]}"',
                              "-", script], capture_output=True, text=True, check=True).stdout
        self.assertEqual(got, "checkpoint\n")


class Process(CliCase):
    def start(self, *args, **kw):
        return subprocess.Popen([VARVE, *args], cwd=self.dir, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)

    def watcher(self):
        """A process that has the folder open, and has said so."""
        p = self.start("watch")
        line = p.stdout.readline()
        self.assertIn(b"a/b", line)
        return p

    def waits_for_more(self, p):
        """Comes back when the process has read what was written to it, and waits."""
        left = bytearray(4)
        while fcntl.ioctl(p.stdin.fileno(), termios.FIONREAD, left) or any(left):
            time.sleep(0.01)
        time.sleep(0.2)

    def test_locked(self):
        self.put("a/b", {"n": 1})
        p = self.watcher()
        try:
            for args in (("get", "a/b"), ("put", "a/b", "{}"), ("stats",), ("verify",)):
                self.varve(*args, code=3)
                self.assertIn("varve serve", self.err)
        finally:
            p.send_signal(signal.SIGKILL)
            p.communicate()
        self.assertEqual(self.get("a/b"), {"n": 1})

    def test_signals_end_a_watch_cleanly(self):
        self.put("a/b", {"n": 1})
        for sig, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            p = self.watcher()
            p.send_signal(sig)
            p.communicate(timeout=30)
            self.assertEqual(p.returncode, code)

    def test_signals_end_a_wait_for_input(self):
        for words in (("put", "a/b", "-"), ("put", "a/b", "--raw", "-"), ("put", "a/b", "--file", "/dev/stdin"),
                      ("user", "add", "bob"), ("import", "a", "-", "--format", "csv"), ("import", "a", "-")):
            with self.subTest(words=words):
                p = self.start(*words, stdin=subprocess.PIPE)
                p.stdin.write(b"long enough")
                p.stdin.flush()
                self.waits_for_more(p)
                p.send_signal(signal.SIGINT)
                self.assertEqual(p.wait(timeout=30), 130)
                p.communicate()
                self.assertTrue(words == ("import", "a", "-") or not os.path.exists(self.path("db")))

    def test_closed_pipe_is_quiet(self):
        self.write("d", "".join('{"_key":"k%06d","t":"%s"}\n' % (i, "x" * 100) for i in range(5000)))
        self.varve("import", "t", "d", "--sync", "off")
        p = self.start("scan", "t")
        self.assertEqual(p.stdout.readline()[:7], b"k000000")
        p.stdout.close()
        self.assertEqual(p.stderr.read(), b"")
        p.stderr.close()
        self.assertEqual(p.wait(timeout=30), 128 + signal.SIGPIPE)
        self.varve("verify")

    def test_full_output_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        self.put("a/b", {"n": 1})
        for words in ("get a/b", "help", "help get", "get --help", "--help", "--version"):
            with self.subTest(words), open("/dev/full", "wb") as full:
                p = subprocess.run([VARVE, *words.split()], stdout=full, stderr=subprocess.PIPE, env=self.env,
                                   cwd=self.dir)
                self.assertEqual(p.returncode, 5)
                self.assertIn(b"cannot write", p.stderr)

    def test_closed_streams_are_no_files_of_the_folder(self):
        self.put("a/b", {"n": 1})
        for words, closed, code in (("get a/b", ">&-", 5), ("get a/none", "2>&-", 1), ("scan a", "<&- >&- 2>&-", 5)):
            with self.subTest(closed=closed):
                p = subprocess.run(["sh", "-c", "exec '%s' %s %s" % (VARVE, words, closed)], env=self.env, cwd=self.dir)
                self.assertEqual(p.returncode, code)
                self.assertEqual(self.read("db/LOCK"), b"")
                self.assertNotIn(b'"n":1', self.read("db/engine/rocks/LOG"))

    def test_no_colours_and_no_progress_in_a_pipe(self):
        self.put("a/b", {"n": 1})
        for args in (("log", "a/b"), ("scan", "a"), ("changes",), ("collections",), ("get", "a/none"), ("frobnicate",)):
            p = self.run_varve(*args)
            self.assertNotIn(b"\x1b", p.stdout + p.stderr)

    def test_quiet(self):
        self.assertEqual(self.varve("put", "a/b", "{}", "-q"), "")
        self.assertEqual(self.varve("checkpoint", "-q"), "")
        self.assertEqual(self.err, "")
        self.assertEqual(self.varve("changes", "--since", "now", "-q"), "")
        self.assertEqual(self.err, "")

    def test_export_to_a_place_that_is_none(self):
        self.put("a/b", {"n": 1})
        self.varve("export", "a", "no/such/folder/x", code=5)
        self.assertIn("no/such/folder", self.err)


if __name__ == "__main__":
    main()
