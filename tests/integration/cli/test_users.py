"""varve user and varve token: what they keep, show and refuse."""
import json
import os
import unittest

from cli_case import CliCase


class Users(CliCase):
    def test_users(self):
        self.varve("user", "add", "alice", "write:app-*", "read:*", stdin="alice's password\n")
        self.varve("user", "add", "alice", stdin="alice's password\n", code=1)
        self.assertIn("already", self.err)
        self.varve("user", "add", "svc", "--certificate", "admin:*")
        rows = {r["name"]: r for r in self.lines("user", "list", "--json")}
        self.assertEqual(rows["alice"]["grants"], ["write:app-*", "read:*"])
        self.assertEqual((rows["alice"]["by"], rows["svc"]["by"]), ("password", "certificate"))
        self.assertIn("write:app-* read:*", self.varve("user", "list"))
        self.varve("user", "grant", "alice", "none:app-*", "admin:x")
        rows = {r["name"]: r for r in self.lines("user", "list", "--json")}
        self.assertEqual(rows["alice"]["grants"], ["read:*", "admin:x"])
        self.varve("user", "grant", "alice", "none:app-*", code=1)
        self.varve("user", "password", "alice", stdin="another password\n")
        self.varve("user", "remove", "alice")
        self.varve("user", "remove", "alice", code=1)
        self.varve("user", "password", "alice", stdin="another password\n", code=1)
        self.assertEqual([r["name"] for r in self.lines("user", "list", "--json")], ["svc"])

    def test_tokens(self):
        self.varve("token", "create", "ci", "read:*", "--ttl", "0s", code=2)  # not one for ever
        token = self.varve("token", "create", "ci", "read:*", "--ttl", "1h").strip()
        self.assertRegex(token, r"^varve_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$")
        self.assertIn("once", self.err)
        row, = self.lines("token", "list", "--json")
        self.assertEqual((row["id"], row["name"], row["grants"]), (token[6:22], "ci", ["read:*"]))
        made = json.loads(self.varve("token", "create", "other", "--json"))
        self.assertEqual(made["token"][6:22], made["id"])
        self.varve("token", "revoke", row["id"])
        self.varve("token", "revoke", row["id"], code=1)
        self.assertEqual([r["name"] for r in self.lines("token", "list", "--json")], ["other"])

    def test_looking_for_somebody_makes_no_folder(self):
        for words in (("user", "list"), ("token", "list"), ("user", "remove", "bob"), ("user", "grant", "bob", "read:*"),
                      ("user", "password", "bob"), ("token", "revoke", "0123456789abcdef")):
            self.varve(*words, stdin="a password\n", code=5)
            self.assertIn("no database", self.err)
            self.made_no_folder()

    def test_refusals(self):
        for args, stdin in ((("user", "add"), ""), (("user", "add", "a:b"), "long enough\n"), (("user", "add", "a"), "short\n"),
                            (("user", "add", "a", "owner:*"), "long enough\n"), (("user", "add", "a", "read:"), "long enough\n"),
                            (("user", "grant", "a"), ""), (("user", "rename", "a"), ""), (("user", "list", "a"), ""),
                            (("user", "remove", "a", "b"), ""), (("token", "create"), ""), (("token", "revoke", "x"), ""),
                            (("token", "list", "x"), ""), (("token", "make", "x"), "")):
            self.varve(*args, stdin=stdin, code=2)
        for length in (1025, 1026, 5000):
            self.varve("user", "add", "a", stdin="x" * length + "\n", code=2)
            self.assertIn("password: it has %d bytes, over the limit of 1024" % length, self.err)
        # Nothing was made by what was refused, and no secret lies in the files.
        self.varve("user", "add", "a", "read:*", stdin="a secret that is long\n")
        token = self.varve("token", "create", "t").strip()
        self.varve("checkpoint")
        for folder in ("db/log", "db/engine"):
            for root, _, files in os.walk(self.path(folder)):
                for name in files:
                    content = self.read(os.path.relpath(os.path.join(root, name), self.dir))
                    self.assertNotIn(b"a secret that is long", content)
                    self.assertNotIn(token.encode(), content)


if __name__ == "__main__":
    unittest.main(argv=[__file__])
