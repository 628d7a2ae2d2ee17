"""The shell from a pipe and on a terminal."""
import os
import pty
import resource
import select
import subprocess
import time

from cli_case import VARVE, CliCase, folder_only, main


class Piped(CliCase):
    def test_verbs(self):
        out = self.varve("shell", stdin="# a comment\n"
                         "put users/alice '{\"name\":\"Alice\"}' -q\n"
                         "put users/bob {\"name\": \"Bob B\", \"o\": {\"x\": \"}\"}} --quiet\n"
                         "put users/carol \"{\\\"name\\\":\\\"Carol\\\"}\" -q\n"
                         "put t/a\\ b --raw 'it''s' -q\n"
                         "\n"
                         "get users/alice\nget users/bob\nget users/carol\nscan t\n")
        self.assertEqual(out, '{"name":"Alice"}\n{"name":"Bob B","o":{"x":"}"}}\n{"name":"Carol"}\na b\tits\n')
        self.assertEqual(self.get("users/alice"), {"name": "Alice"})

    def test_failures_do_not_stop_it_but_are_told(self):
        self.put("t/a", {"n": 1})
        self.assertEqual(self.varve("shell", stdin="get t/none\nget t/a\nfrobnicate\n", code=1), '{"n":1}\n')
        self.varve("shell", stdin="frobnicate\n", code=2)
        self.varve("shell", stdin="get 't/a\n", code=2)
        self.varve("shell", stdin="shell\n", code=2)
        self.varve("shell", stdin="get t/a --data elsewhere\n", code=2)
        self.varve("shell", stdin="put t/b -\n", code=2)
        self.varve("shell", stdin=b"get t/\0a\n", code=2)

    def test_exit(self):
        self.put("t/a", {"n": 1})
        self.assertEqual(self.varve("shell", stdin="exit\nget t/a\n"), "")
        self.assertEqual(self.varve("shell", stdin=""), "")
        self.assertEqual(self.varve("shell", stdin="get t/a"), '{"n":1}\n')

    @folder_only("a server has its folder already")
    def test_reading_makes_no_folder(self):
        self.varve("shell", stdin="get t/a\n", code=5)
        self.assertFalse(os.path.exists(self.path("db")))
        self.varve("shell", stdin="get t/a\nput t/a {}\n", code=5)
        self.assertEqual(self.get("t/a"), {})

    def test_many_commands_on_one_handle(self):
        self.varve("shell", stdin="".join("put t/%d {\"n\":%d} -q --sync off\n" % (i, i) for i in range(300)))
        self.assertEqual(len(self.scan("t")), 300)

    def test_what_cannot_be_written_is_told_of_its_line_alone(self):
        """The file that takes the output is at its limit for one line of three."""
        with open(self.path("out"), "wb") as out:
            p = subprocess.Popen([VARVE, "shell", "-q"], cwd=self.dir, env=self.env, stdin=subprocess.PIPE, stdout=out,
                                 stderr=subprocess.PIPE, restore_signals=False)  # SIGXFSZ stays ignored
        p.stdin.write(b"help get\n")
        p.stdin.flush()
        until = time.time() + 60
        while b"Examples" not in self.read("out") and time.time() < until:
            time.sleep(0.01)
        soft, hard = resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        p.stdin.write(b"help put\n")
        p.stdin.flush()
        self.assertIn(b"cannot write the output: File too large", p.stderr.readline())
        resource.prlimit(p.pid, resource.RLIMIT_FSIZE, (soft, hard))
        rest = p.communicate(b"help scan\n", timeout=60)[1]
        self.assertEqual(rest, b"")
        self.assertIn(b"varve scan", self.read("out"))
        self.assertEqual(p.returncode, 5)


class Terminal(CliCase):
    def talk(self, steps, args=("shell",)):
        """Types each step after its prompt; returns all that the terminal showed and the exit code."""
        parent, child = pty.openpty()
        p = subprocess.Popen([VARVE, *args], cwd=self.dir, env=dict(self.env, TERM="xterm"), stdin=child, stdout=child,
                             stderr=child, start_new_session=True, close_fds=True)
        os.close(child)
        seen, steps = b"", list(steps)
        deadline = time.time() + 60
        prompts = 0
        while time.time() < deadline:
            if not select.select([parent], [], [], 0.1)[0]:
                continue
            try:
                got = os.read(parent, 65536)
            except OSError:
                break
            if not got:
                break
            seen += got
            while steps and seen.count(b"varve>") > prompts:
                prompts += 1
                os.write(parent, steps.pop(0))
        code = p.wait(timeout=60)
        os.close(parent)
        return seen.decode(), code

    def test_prompt_and_colours(self):
        seen, code = self.talk([b"put t/a {\"n\":1}\n", b"log t/a\n", b"get t/none\n", b"exit\n"])
        self.assertEqual(code, 0)
        self.assertIn("varve>", seen)
        self.assertIn("\x1b[33m", seen)
        self.assertIn("t/none: ", seen)

    def test_no_color(self):
        self.env["NO_COLOR"] = "1"
        seen, code = self.talk([b"put t/a {\"n\":1}\n", b"log t/a\n", b"exit\n"])
        self.assertEqual(code, 0)
        self.assertNotIn("\x1b[3", seen)

    def test_end_of_input(self):
        seen, code = self.talk([b"put t/a {}\n", b"\x04"])
        self.assertEqual(code, 0)


if __name__ == "__main__":
    main()
