"""Every verb that reads or writes single records, and those that care for the folder."""
import json
import os
import re

from cli_case import REMOTE, CliCase, folder_only, main

VERSION = re.compile(r"^[0-9a-f]{16}$")


class Records(CliCase):
    def test_put_get_overwrite(self):
        v1 = self.put("users/alice", {"name": "Alice", "age": 30})
        self.assertRegex(v1, VERSION)
        v2 = self.put("users/alice", {"name": "Alice", "age": 31})
        self.assertGreater(v2, v1)
        self.assertEqual(self.get("users/alice"), {"name": "Alice", "age": 31})
        self.assertEqual(self.get("users/alice", "--at", v1), {"name": "Alice", "age": 30})

    def test_absent(self):
        self.put("users/alice", {})
        self.assertEqual(self.varve("get", "users/bob", code=1), "")
        self.assertIn("users/bob", self.err)
        self.varve("get", "nowhere/bob", code=1)
        self.varve("delete", "users/bob", code=1)
        self.varve("log", "users/bob", code=1)

    def test_get_json_has_an_envelope(self):
        v = self.put("users/alice", {"n": 1})
        got = self.lines("get", "users/alice", "--json")[0]
        self.assertEqual((got["collection"], got["key"], got["version"], got["type"], got["value"]),
                         ("users", "alice", v, "document", {"n": 1}))
        self.assertRegex(got["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_pretty_is_several_lines_of_the_same(self):
        self.put("users/alice", {"a": 1, "b": {"c": [1, 2]}})
        text = self.varve("get", "users/alice", "--pretty")
        self.assertGreater(len(text.splitlines()), 3)
        self.assertEqual(json.loads(text), {"a": 1, "b": {"c": [1, 2]}})

    def test_canonical_keeps_types(self):
        self.varve("put", "t/a", '{"l":{"$numberLong":"5"},"d":{"$date":"2026-01-02T03:04:05Z"}}')
        got = json.loads(self.varve("get", "t/a", "--canonical"))
        self.assertEqual(got["l"], {"$numberLong": "5"})

    def test_values_from_everywhere(self):
        self.varve("put", "t/raw", "--raw", "just text")
        self.varve("get", "t/raw")
        self.assertEqual(self.out, b"just text")
        every = bytes(range(256)) * 5
        self.write("blob", every)
        self.varve("put", "t/blob", "--file", "blob")
        self.varve("get", "t/blob")
        self.assertEqual(self.out, every)
        self.varve("put", "t/doc", "--file", self.write("doc.json", '{"from":"file"}'), "--doc")
        self.assertEqual(self.get("t/doc"), {"from": "file"})
        self.varve("put", "t/in", "-", stdin='{"from":"stdin"}')
        self.assertEqual(self.get("t/in"), {"from": "stdin"})
        self.varve("put", "t/inraw", "-", "--raw", stdin=b"\0\xff")
        self.varve("get", "t/inraw")
        self.assertEqual(self.out, b"\0\xff")
        self.varve("put", "t/empty", "--raw", "")
        self.varve("get", "t/empty")
        self.assertEqual(self.out, b"")
        self.varve("put", "t/nofile", "--file", "missing", code=5)

    def test_raw_values_in_json(self):
        self.varve("put", "t/a", "--raw", "text")
        self.varve("put", "t/b", "-", "--raw", stdin=b"\xff\0")
        rows = self.scan("t")
        self.assertEqual(rows["a"], "text")
        self.assertEqual(rows["b"], {"$binary": {"base64": "/wA=", "subType": "00"}})

    def test_bad_documents_are_refused_before_a_folder_is_made(self):
        for bad in ("nope", "[1]", '{"a":}', '{"a":1', '{"a":1}{', ""):
            self.varve("put", "users/alice", bad, code=2)
            self.assertIn("--raw", self.err)
        self.made_no_folder()

    def test_nothing_is_no_document(self):
        for words in (("put", "t/a", ""), ("put", "t/a", "-")):
            self.varve(*words, code=2)
            self.assertIn("not a JSON document: line 1 column 1: the text ends", self.err)

    def test_conditions(self):
        v1 = self.put("users/alice", {"n": 1})
        self.varve("put", "users/alice", '{"n":2}', "--if-absent", code=1)
        self.assertIn(v1, self.err)
        v2 = self.varve("put", "users/alice", '{"n":2}', "--if-version", v1).strip()
        self.varve("put", "users/alice", '{"n":3}', "--if-version", v1, code=1)
        self.assertIn(v2, self.err)
        self.varve("delete", "users/alice", "--if-version", v1, code=1)
        self.assertEqual(self.get("users/alice"), {"n": 2})
        self.varve("delete", "users/alice", "--if-version", v2)
        self.varve("put", "users/alice", '{"n":4}', "--if-version", v2, code=1)
        self.varve("put", "users/alice", '{"n":4}', "--if-absent")
        self.varve("put", "users/alice", "{}", "--if-absent", "--if-version", v2, code=2)

    def test_delete_keeps_the_past_and_restore_brings_it_back(self):
        v1 = self.put("users/alice", {"n": 1})
        v2 = self.varve("delete", "users/alice").strip()
        self.varve("get", "users/alice", code=1)
        self.varve("get", "users/alice", "--at", v2, code=1)
        self.assertEqual(self.get("users/alice", "--at", v1), {"n": 1})
        v3 = self.varve("restore", "users/alice", "--at", v1).strip()
        self.assertGreater(v3, v2)
        self.assertEqual(self.get("users/alice"), {"n": 1})
        self.varve("restore", "users/alice", "--at", v2)
        self.varve("get", "users/alice", code=1)
        self.varve("restore", "users/alice", code=2)

    def test_log(self):
        v1 = self.varve("put", "users/alice", '{"n":1}', "--writer", "w1").strip()
        v2 = self.varve("put", "users/alice", '{"n":2}', env={"VARVE_WRITER": "w2"}).strip()
        v3 = self.varve("delete", "users/alice").strip()
        rows = self.lines("log", "users/alice", "--json")
        self.assertEqual([r["version"] for r in rows], [v3, v2, v1])
        self.assertEqual([r["kind"] for r in rows], ["delete", "put", "put"])
        self.assertEqual([r["parent"] for r in rows], [v2, v1, None])
        self.assertEqual([r["writer"] for r in rows][1:], ["w2", "w1"])
        self.assertNotEqual(rows[0]["writer"], "")
        self.assertEqual(len(self.lines("log", "users/alice", "--json", "--limit", "2")), 2)
        self.assertEqual(self.lines("log", "users/alice", "--json", "--values")[2]["value"], {"n": 1})
        text = self.varve("log", "users/alice").splitlines()
        self.assertEqual(len(text), 4)
        self.assertTrue(text[0].startswith("VERSION"))
        self.assertTrue(text[1].startswith(v3))

    def test_diff(self):
        v1 = self.put("users/alice", {"name": "Alice", "age": 30, "city": "Graz"})
        v2 = self.put("users/alice", {"name": "Alice", "age": 31, "tags": ["x"]})
        self.put("users/alice", {"name": "Al"})
        got = self.lines("diff", "users/alice", v1, v2, "--json")[0]
        self.assertEqual(got["set"]["age"], 31)
        self.assertEqual(got["unset"], ["city"])
        patch = self.lines("diff", "users/alice", v1, v2, "--patch")[0]
        self.assertIn({"op": "replace", "path": "/age", "value": 31}, patch)
        self.assertIn({"op": "remove", "path": "/city"}, [{k: p[k] for k in ("op", "path")} for p in patch])
        text = self.varve("diff", "users/alice", v1, v2)
        self.assertIn("age = 31", text)
        self.assertIn('tags = ["x"]', text)
        self.assertIn("unset  city", text)
        self.assertIn('name = "Al"', self.varve("diff", "users/alice", v1))
        self.assertEqual(self.varve("diff", "users/alice", v1, v1), "")
        self.varve("diff", "users/alice", "now", code=2)
        self.varve("diff", "users/alice", "nonsense", code=2)

    def test_diff_at_the_limits(self):
        """What says how two documents differ may be larger and deeper than they are."""
        v = self.put("t/deep", {"a": 1})
        deep = '{"x.y":' + '{"a":' * 99 + "1" + "}" * 100
        self.varve("put", "t/deep", "-", stdin=deep)
        self.assertEqual(self.varve("diff", "t/deep", v), "set     = %s\n" % deep)
        v = self.put("t/long", {"\\\"\x01{": 1, "b": None})
        long = "x\\\"}" * (4 * 1024 * 1024 - 16)
        self.varve("put", "t/long", "-", stdin=json.dumps({"c": long, "d": [{}, "]"]}))
        self.assertEqual(self.varve("diff", "t/long", v), 'set    c = %s\nset    d = [{},"]"]\n'
                         'unset  \\\\"\\x01{\nunset  b\n' % json.dumps(long))

    def test_ttl(self):
        self.varve("put", "s/1", '{"n":1}', "--ttl", "1h")
        self.assertIn("expires", self.lines("get", "s/1", "--json")[0])
        self.varve("put", "s/2", '{"n":1}', "--ttl", "1ms")
        self.varve("get", "s/2", code=1)
        self.varve("put", "s/3", '{"n":1}', "--ttl", "5", code=2)
        self.varve("put", "s/3", '{"n":1}', "--ttl", "0s", code=2)

    def test_unicode_and_binary_keys(self):
        self.put("users/Jürgen 木", {"n": 1})
        self.assertEqual(self.get("users/Jürgen 木"), {"n": 1})
        self.varve("put", "bin/a\\x00\\xff\\\\b", '{"n":2}', "--escapes")
        self.assertEqual(json.loads(self.varve("get", "bin/a\\x00\\xff\\\\b", "-e")), {"n": 2})
        self.assertEqual(self.varve("scan", "bin", "--keys-only"), "a\\x00\\xff\\\\b\n")
        self.assertEqual(self.lines("scan", "bin", "--json")[0]["key"],
                         {"$binary": {"base64": "YQD/XGI=", "subType": "00"}})
        self.assertEqual(self.lines("changes", "--json", "--collection", "bin")[0]["key"]["$binary"]["base64"], "YQD/XGI=")
        self.varve("put", b"bin/raw\xfe".decode(errors="surrogateescape"), '{"n":3}')
        self.assertEqual(json.loads(self.varve("get", "bin/raw\\xfe", "-e")), {"n": 3})
        self.varve("get", "bin/a\\x0", "-e", code=2)
        self.put("slash/a/b/c", {"n": 4})
        self.assertEqual(self.get("slash/a/b/c"), {"n": 4})

    def test_limits_are_named(self):
        self.put("t/" + "k" * 65536, {})
        self.varve("put", "t/" + "k" * 65537, "{}", code=2)
        self.assertIn("64 KiB", self.err)
        self.varve("put", "t/big", "--file", self.write("big", b"x" * (16 * 1024 * 1024 + 1)), code=2)
        self.assertIn("16 MiB", self.err)


class Scans(CliCase):
    def setUp(self):
        super().setUp()
        self.keys = ["a", "ab", "abc", "b", "ba", "c"]
        for k in self.keys:
            self.put("t/" + k, {"k": k})
        self.put("u/z", {})

    def keys_of(self, *args):
        rows = self.lines("scan", *args, "--keys-only", "--json")
        self.assertTrue(all("value" not in r for r in rows))
        return [r["key"] for r in rows]

    def test_order_and_bounds(self):
        self.assertEqual(self.keys_of("t"), self.keys)
        self.assertEqual(self.keys_of("t/", "--reverse"), self.keys[::-1])
        self.assertEqual(self.keys_of("t/", "--prefix", "a"), ["a", "ab", "abc"])
        self.assertEqual(self.keys_of("t/ab"), ["ab", "abc"])
        self.assertEqual(self.keys_of("t", "--from", "ab", "--to", "ba"), ["ab", "abc", "b"])
        self.assertEqual(self.keys_of("t", "--prefix", "a", "-r", "-n2"), ["abc", "ab"])
        self.assertEqual(self.keys_of("t", "--limit", "0"), [])
        self.assertEqual(self.keys_of("nowhere"), [])
        self.varve("scan", "t/a", "--prefix", "b", code=2)
        self.varve("scan", "t", "--limit", "x", code=2)

    def test_text(self):
        self.assertEqual(self.varve("scan", "t", "--limit", "2"), 'a\t{"k":"a"}\nab\t{"k":"ab"}\n')
        row = self.lines("scan", "t", "--limit", "1", "--json")[0]
        self.assertEqual(sorted(row), ["key", "value", "version"])

    def test_changes(self):
        rows = self.lines("changes", "--json", "--values")
        self.assertEqual([r["key"] for r in rows], self.keys + ["z"])
        self.assertEqual(rows[0]["value"], {"k": "a"})
        rest = self.lines("changes", "--json", "--since", rows[2]["token"])
        self.assertEqual([r["key"] for r in rest], ["b", "ba", "c", "z"])
        now = self.lines("changes", "--json", "--since", "now")[0]["token"]
        self.assertEqual(self.lines("changes", "--json", "--since", rows[-1]["token"]), [{"token": now}])
        self.varve("changes", "--collection", "u")  # behind all that is there, not only behind its last row
        self.assertEqual(self.err, "token: %s\n" % now)
        self.varve("changes", "--since", "now")
        self.assertEqual(self.err, "nothing new; token: %s\n" % now)
        self.put("t/new", {})
        self.assertEqual([r["key"] for r in self.lines("changes", "--json", "--since", now)], ["new"])
        self.varve("delete", "t/new")
        self.assertEqual([r["key"] for r in self.lines("changes", "--json", "--collection", "u")], ["z"])
        self.varve("changes", "--limit", "2")
        self.assertIn("token: " + rows[1]["token"], self.err)
        if not REMOTE:
            self.varve("changes", "--follow", code=2)
            self.assertIn("varve serve", self.err)
        self.varve("changes", "--since", "no token at all", code=2)
        self.varve("changes", "--prefix", "a", code=2)

    def test_watch_gives_what_there_is_and_ends(self):
        rows = self.lines("watch", "--timeout", "100ms", "--json", "--collection", "t")
        self.assertEqual([r["key"] for r in rows], self.keys)
        self.assertEqual(self.varve("watch", "--since", "now", "--timeout", "50ms"), "")
        self.assertEqual(len(self.lines("watch", "--limit", "3", "--json")), 3)


class Care(CliCase):
    def test_collections_and_drop(self):
        v = self.put("users/a", {"n": 1})
        self.put("things/b", {})
        self.assertEqual({r["name"] for r in self.lines("collections", "--json")}, {"users", "things"})
        self.assertIn("users", self.varve("collections"))
        self.varve("drop", "users")
        self.assertEqual(self.scan("users"), {})
        self.varve("get", "users/a", code=1)
        self.assertEqual(self.get("users/a", "--at", v), {"n": 1})
        self.varve("drop", "nowhere", code=1)

    def test_snapshots(self):
        v1 = self.put("users/a", {"n": 1})
        self.assertRegex(self.varve("snapshot", "create", "first").strip(), VERSION)
        self.put("users/a", {"n": 2})
        self.varve("snapshot", "create", "old", "--at", v1)
        self.assertEqual(self.get("users/a", "--at", "@first"), {"n": 1})
        self.assertEqual({r["name"] for r in self.lines("snapshot", "list", "--json")}, {"first", "old"})
        self.varve("snapshot", "create", "first", code=1)
        self.varve("snapshot", "delete", "first")
        self.varve("get", "users/a", "--at", "@first", code=1)
        self.varve("snapshot", "delete", "first", code=1)
        self.varve("snapshot", "frobnicate", code=2)
        self.varve("snapshot", "create", code=2)
        self.varve("snapshot", "list", "extra", code=2)

    def test_retention_and_vacuum(self):
        for n in range(5):
            self.put("users/a", {"n": n})
        self.assertEqual(self.lines("retention", "users", "--json"), [{"max_age_ms": 0, "max_count": 0}])
        self.varve("retention", "users", "--max-count", "2")
        self.assertEqual(self.lines("retention", "users", "--max-age", "1h30m", "--json"),
                         [{"max_age_ms": 5400000, "max_count": 2}])
        self.assertIn("1h30m", self.varve("retention", "users"))
        self.assertEqual(len(self.lines("vacuum", "--json")), 1)
        self.assertIn("versions removed", self.varve("vacuum", "users"))
        self.assertEqual(self.get("users/a"), {"n": 4})
        self.varve("retention", "nowhere", code=1)

    def test_an_empty_name_is_not_all_collections(self):
        self.put("t/a", {})
        for words in (("vacuum", ""), ("changes", "--collection", ""), ("watch", "-c", "", "--timeout", "1ms")):
            self.varve(*words, code=2)
            self.assertIn("empty", self.err)
            self.assertEqual(self.out, b"")

    def test_verify_stats_checkpoint_compact(self):
        self.put("users/a", {"n": 1})
        self.assertIn("nothing is wrong", self.varve("verify"))
        self.assertEqual(self.lines("verify", "--json"), [{"ok": True, "findings": 0}])
        stats = self.lines("stats", "--json")[0]
        self.assertIn("log_bytes", stats)
        self.assertRegex(stats["newest"], VERSION)
        self.assertIn("newest version", self.varve("stats"))
        self.varve("checkpoint")
        self.varve("compact", "--json")
        self.assertEqual(self.get("users/a"), {"n": 1})


class Words(CliCase):
    def test_one_collection_does_not_end_the_changes_of_another(self):
        for i in range(3):
            self.put("a/k", {"i": i})
        self.put("b/k", {})
        self.varve("retention", "a", "--max-count", "1")
        self.varve("vacuum", "a")
        self.assertEqual([r["key"] for r in self.lines("changes", "--collection", "b", "--json")], ["k"])
        self.varve("changes", "--collection", "a", code=1)
        self.assertRegex(self.err, r"^varve: changes of collection a up to version \w+ \(20..-..-..T")

    def test_restore_tells_a_delete(self):
        self.put("a/other", {})
        version = self.put("a/first", {"x": 1})
        before = self.lines("log", "a/other", "--json")[0]["version"]
        self.varve("restore", "a/first", "--at", before)
        self.assertEqual(self.err, "a/first: deleted: it did not exist at %s\n" % before)
        self.assertEqual(self.lines("restore", "a/first", "--at", version, "--json")[0]["kind"], "put")
        self.assertEqual(self.lines("restore", "a/first", "--at", before, "--json")[0]["kind"], "delete")

    def test_messages(self):
        self.put("a/k", {})
        self.varve("get", "a/k", "--at", "9000-01-01T00:00:00Z", code=2)
        self.assertRegex(self.err, r"a/k: 9000-01-01T00:00:00.000Z lies \d+ days in the future\n")
        self.varve("get", "a/k", "--at", "2001-01-01T00:00:00Z", code=1)
        self.assertEqual(self.err, "varve: a/k: no collection a at that time\n")
        self.varve("drop", "zzz", code=1)
        self.assertEqual(self.err, "varve: no collection zzz\n")
        self.assertNotIn("-", self.varve("snapshot", "create", "s", "--at", "-0s"))
        self.varve("put", "a/" + "k" * 70000, "{}", code=2)
        self.assertIn("a/" + "k" * 62 + "...: ", self.err)
        self.assertLess(len(self.err), 300)
        self.assertEqual(self.varve("log", "a/none", code=1), "")
        self.varve("put", "a/deep", "{\"a\":" * 101 + "1" + "}" * 101, code=2)
        self.assertIn("the limit of 100 levels", self.err)
        raw = self.varve("put", "a/r", "--raw", "x").strip()
        self.varve("diff", "a/r", raw, code=2)
        self.assertIn(raw, self.err)
        self.varve("get", "a/k", "--data", self.write("plain", "x"), code=5)
        self.assertIn("plain is not a folder", self.err)
        self.varve("put", "a/k", "{}", "--data", self.path("plain"), code=5)
        self.assertIn("plain is not a folder", self.err)

    @folder_only("a server does not start over such a folder")
    def test_verify_names_all_faults_of_a_folder_that_does_not_open(self):
        for i in range(5):
            self.put("a/rot%d" % i, {})
        log = self.path("db/log/00000000.seg")
        data = bytearray(self.read("db/log/00000000.seg"))
        for name in (b"rot1", b"rot3"):
            data[data.index(name)] ^= 1
        with open(log, "wb") as f:
            f.write(data)
        self.varve("get", "a/rot0", code=4)
        found = self.lines("verify", "--json", code=4)
        self.assertEqual(found[-1], {"ok": False, "findings": 2})
        self.assertEqual(len({f["offset"] for f in found[:-1]}), 2)
        os.unlink(self.path("db/VARVE"))
        self.varve("get", "a/rot0", code=4)
        self.assertIn("VARVE: offset 0: the file is missing", self.err)
        self.assertEqual(len(self.varve("verify", code=4).splitlines()), 3)

    def test_stats_count_what_is_listed(self):
        self.varve("import", "t", self.write("d", '{"_key":"a"}\n'))
        self.assertEqual(self.lines("stats", "--json")[0]["collections"], 1)


if __name__ == "__main__":
    main()
