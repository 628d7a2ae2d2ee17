"""Every route that succeeds, held against openapi.json; keys of any bytes; conditions; pages; both protocols by curl."""
import json
import os
import random
import shutil
import socket
import subprocess
import unittest
import urllib.parse

from http_case import HttpCase


def quoted(key):
    return urllib.parse.quote_from_bytes(key, safe="")


class Records(HttpCase):
    def test_a_document_and_its_past(self):
        v1 = self.put("users/alice", {"name": "Alice", "age": 30})
        v2 = self.put("users/alice", {"name": "Alice", "age": 31})
        a = self.call("GET", "/v1/users/alice")
        self.assertEqual(a.json(), {"name": "Alice", "age": 31})
        self.assertEqual(a.header("etag"), '"%s"' % v2)
        self.assertEqual(a.header("content-type"), "application/json")
        self.assertEqual(a.header("x-varve-writer"), "server")
        self.assertEqual(a.header("cache-control"), "private, no-cache")
        self.assertRegex(a.header("last-modified"), r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$")
        a = self.call("GET", "/v1/users/alice?at=" + v1)
        self.assertEqual(a.json()["age"], 30)
        self.assertIn("immutable", a.header("cache-control"))
        head = self.call("HEAD", "/v1/users/alice")
        self.assertEqual((head.body, head.header("etag")), (b"", '"%s"' % v2))
        self.call("GET", "/v1/users/alice", headers={"If-None-Match": '"x", W/"%s"' % v2}, status=304)
        self.call("GET", "/v1/users/alice", headers={"If-None-Match": '"%s"' % v1})
        bson = self.call("GET", "/v1/users/alice", headers={"Accept": "application/bson"})
        self.call("PUT", "/v1/users/copy", body=bson.body, headers={"Content-Type": "application/bson"})
        self.assertEqual(self.call("GET", "/v1/users/copy").json(), {"name": "Alice", "age": 31})
        canonical = self.call("GET", "/v1/users/alice?canonical").json()
        self.assertEqual(canonical["age"], {"$numberInt": "31"})
        history = self.call("GET", "/v1/users/alice/history").json()
        self.assertEqual([i["version"] for i in history["items"]], [v2, v1])
        self.assertEqual(history["items"][0]["parent"], v1)
        self.assertEqual(history["items"][1]["value"]["age"], 30)
        page = self.call("GET", "/v1/users/alice/history?limit=1&values=false").json()
        self.assertNotIn("value", page["items"][0])
        page = self.call("GET", "/v1/users/alice/history?limit=1&page=" + page["next"]).json()
        self.assertEqual([i["version"] for i in page["items"]], [v1])
        self.assertEqual(self.call("GET", "/v1/users/alice/diff?a=%s" % v1).json(), {"set": {"age": 31}, "unset": []})
        a = self.call("GET", "/v1/users/alice/diff?a=%s&b=%s&format=patch" % (v2, v1))
        self.assertEqual(a.json(), [{"op": "replace", "path": "/age", "value": 30}])
        self.assertEqual(a.header("content-type"), "application/json-patch+json")
        self.call("POST", "/v1/users/alice/restore?at=" + v1)
        self.assertEqual(self.call("GET", "/v1/users/alice").json()["age"], 30)
        self.call("DELETE", "/v1/users/alice")
        self.problem("GET", "/v1/users/alice", 404)
        kinds = [i["kind"] for i in self.call("GET", "/v1/users/alice/history").json()["items"]]
        self.assertEqual(kinds, ["delete", "put", "put", "put"])

    def test_consistency(self):
        """One node has one present; the words are checked all the same."""
        self.put("consistency/k", {"n": 1})
        for path in ("/v1/consistency/k", "/v1/consistency", "/v1/consistency/k/history", "/v1/collections", "/v1/changes?since=now"):
            path += "&" if "?" in path else "?"
            for word in ("local", "linearizable"):
                self.call("GET", "%sconsistency=%s" % (path, word))
            self.problem("GET", path + "consistency=eventual", 400, field="consistency")
        self.problem("PUT", "/v1/consistency/k?consistency=local", 400, body={})

    def test_requests_are_done_once(self):
        once = {"Idempotency-Key": "put%201"}
        v1 = self.put("once/k", {"n": 1}, headers=once)
        self.assertEqual(self.put("once/k", {"n": 1}, headers=once), v1)
        self.problem("PUT", "/v1/once/k", 400, body={"n": 2}, headers=once, field="idempotency-key")
        self.problem("PUT", "/v1/once/k", 400, body={"n": 2}, headers={"Idempotency-Key": "%"}, field="idempotency-key")
        self.problem("PUT", "/v1/once/k", 400, body={"n": 2}, headers={"Idempotency-Key": "x" * 129}, field="idempotency-key")
        batch = {"writes": [{"collection": "once", "key": "b", "value": {"n": 1}}]}
        first = self.call("POST", "/v1/batch", body=batch, headers={"Idempotency-Key": "b"}).json()["version"]
        self.assertEqual(self.call("POST", "/v1/batch", body=batch, headers={"Idempotency-Key": "b"}).json()["version"], first)
        self.call("DELETE", "/v1/once/k", headers={"Idempotency-Key": "d"})
        self.call("DELETE", "/v1/once/k", headers={"Idempotency-Key": "d"})
        self.problem("DELETE", "/v1/once/k", 404, headers={"Idempotency-Key": "d2"})
        self.assertEqual(len(self.call("GET", "/v1/once/k/history").json()["items"]), 2)

    def test_conditions(self):
        v1 = self.put("cas/k", {"n": 1}, headers={"If-None-Match": "*"}, status=201)
        a = self.problem("PUT", "/v1/cas/k", 412, body={"n": 2}, headers={"If-None-Match": "*"})
        self.assertEqual(a.json()["version"], v1)
        self.assertEqual(a.header("etag"), '"%s"' % v1)
        v2 = self.put("cas/k", {"n": 2}, headers={"If-Match": '"%s"' % v1})
        self.problem("PUT", "/v1/cas/k", 412, body={"n": 3}, headers={"If-Match": '"%s"' % v1})
        self.problem("PUT", "/v1/cas/k", 412, body={"n": 3}, headers={"If-Match": 'W/"%s"' % v2}, field="if-match")
        self.put("cas/k", {"n": 3}, headers={"If-Match": "*"})
        self.problem("PUT", "/v1/cas/other", 412, body={"n": 3}, headers={"If-Match": "*"})
        self.problem("PUT", "/v1/cas/k", 400, body={}, headers={"If-Match": '"%s", "%s"' % (v1, v2)}, field="if-match")
        self.problem("PUT", "/v1/cas/k", 400, body={}, headers={"If-None-Match": '"%s"' % v1}, field="if-none-match")
        self.problem("PUT", "/v1/cas/k", 400, body={}, headers={"If-Match": "*", "If-None-Match": "*"})
        self.problem("DELETE", "/v1/cas/k", 412, headers={"If-Match": '"%s"' % v1})
        self.problem("DELETE", "/v1/cas/nothing", 412, headers={"If-Match": "*"})
        self.call("DELETE", "/v1/cas/k", headers={"If-Match": "*"})
        self.problem("POST", "/v1/cas/k/restore?at=" + v1, 400, headers={"If-Match": "*"}, detail="not heeded")

    def test_keys_of_any_bytes_and_values_too(self):
        rng = random.Random(7)
        everything = bytes(range(256))
        keys = [everything, b"a/b", b"/", b"history", b"a/history", b"%2F", b"+", b" ", b"=", b"\xff\x00"]
        keys += [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))) for _ in range(60)]
        for key in keys:
            value = bytes(rng.randrange(256) for _ in range(rng.randrange(0, 300)))
            self.call("PUT", "/v1/raw/" + quoted(key), body=value, headers={"Content-Type": "application/octet-stream"})
            a = self.call("GET", "/v1/raw/" + quoted(key))
            self.assertEqual((a.body, a.header("content-type")), (value, "application/octet-stream"))
        got = {}
        target = "/v1/raw?limit=7"
        while True:
            page = self.call("GET", target).json()
            for i in page["items"]:
                key = i["key"]
                got[key if isinstance(key, str) else key["$binary"]["base64"]] = i
            if not page["next"]:
                break
            target = "/v1/raw?limit=7&page=" + page["next"]
        self.assertEqual(len(got), len(set(keys)))
        self.call("PUT", "/v1/=batch/k", body={"n": 1})
        self.assertEqual(self.call("GET", "/v1/=batch/k").json(), {"n": 1})
        self.assertEqual(self.call("GET", "/v1/=batch").json()["items"][0]["key"], "k")
        self.call("PUT", "/v1/==odd/k", body={"n": 2})
        self.assertIn("=odd", [i["name"] for i in self.call("GET", "/v1/collections").json()["items"]])

    def test_ttl_writer_and_sync(self):
        self.call("PUT", "/v1/t/k?ttl=1h&sync=off", body={"n": 1}, headers={"X-Varve-Writer": "caf%C3%A9"})
        a = self.call("GET", "/v1/t/k")
        self.assertEqual(a.header("x-varve-writer"), "caf%C3%A9")
        self.assertRegex(a.header("x-varve-expires"), r"^\d{4}-\d\d-\d\dT")
        self.assertEqual(self.call("GET", "/v1/t").json()["items"][0]["writer"], "caf\u00e9")

    def test_writer_of_a_batch(self):
        batch = {"writes": [{"collection": "w", "key": "k", "value": {"n": 1}}]}
        self.call("POST", "/v1/batch", body=batch, headers={"X-Varve-Writer": "caf%C3%A9"})
        self.assertEqual(self.call("GET", "/v1/w").json()["items"][0]["writer"], "caf\u00e9")
        self.call("POST", "/v1/batch", body=dict(batch, writer="body"), headers={"X-Varve-Writer": "header"})
        self.assertEqual(self.call("GET", "/v1/w").json()["items"][0]["writer"], "body")
        self.problem("POST", "/v1/batch", 400, body=batch, headers={"X-Varve-Writer": "%zz"}, field="x-varve-writer")
        self.problem("POST", "/v1/batch", 400, body=batch, headers={"X-Varve-Writer": "w" * 256}, field="x-varve-writer")
        for writer in ("w" * 256, 1):
            self.problem("POST", "/v1/batch", 400, body=dict(batch, writer=writer), field="writer")

    def test_scans(self):
        for i in range(25):
            self.put("s/k%02d" % i, {"n": i})
        keys = lambda page: [i["key"] for i in page["items"]]
        self.assertEqual(keys(self.call("GET", "/v1/s?prefix=k1").json()), ["k%d" % i for i in range(10, 20)])
        page = self.call("GET", "/v1/s?from=k03&to=k06&reverse&keys_only").json()
        self.assertEqual(keys(page), ["k05", "k04", "k03"])
        self.assertNotIn("value", page["items"][0])
        seen, target = [], "/v1/s?limit=4"
        while target:
            page = self.call("GET", target).json()
            seen += keys(page)
            self.put("s/k99", {"n": "written between pages"})
            target = "/v1/s?limit=4&page=" + page["next"] if page["next"] else None
        self.assertEqual(seen, ["k%02d" % i for i in range(25)])
        scan = self.call("GET", "/openapi.json").json()["paths"]["/v1/{collection}"]["get"]  # what is taken fits what is said
        limit = next(p["schema"] for p in scan["parameters"] if p["name"] == "limit")
        self.assertEqual(self.call("GET", "/v1/s?limit=100001", headers={"Accept": "application/x-ndjson"}).status, 200)
        self.assertGreaterEqual(limit.get("maximum", 100001), 100001)
        lines = self.call("GET", "/v1/s?limit=26", headers={"Accept": "application/x-ndjson"}).lines()
        self.assertEqual(len(lines), 26)
        self.assertEqual(lines[3]["value"], {"n": 3})
        self.assertEqual(self.call("GET", "/v1/nothing").json()["items"], [])
        big = b"x" * 50000
        for i in range(40):
            self.call("PUT", "/v1/big/%03d" % i, body=big, headers={"Content-Type": "application/octet-stream"})
        lines = self.call("GET", "/v1/big", headers={"Accept": "application/x-ndjson"}).lines()
        self.assertEqual([line["key"] for line in lines], ["%03d" % i for i in range(40)])
        self.assertTrue(all(len(line["value"]) == len(big) for line in lines))

    def test_batches(self):
        v = self.put("b/there", {"n": 1})
        body = {"writes": [{"collection": "b", "key": "doc", "value": {"when": {"$date": "2026-01-01T00:00:00Z"}}},
                           {"collection": "b", "key": {"$binary": {"base64": "/wA=", "subType": "00"}}, "value": "text", "ttl": "1h"},
                           {"collection": "b2", "key": "new", "value": {}, "if_absent": True},
                           {"collection": "b", "key": "there", "delete": True, "if_version": v}],
                "require": [{"collection": "b", "key": "nothing", "absent": True}], "sync": "off", "writer": "me"}
        version = self.call("POST", "/v1/batch", body=body).json()["version"]
        self.assertEqual(self.call("GET", "/v1/b/%FF%00").body, b"text")
        self.assertEqual(self.call("GET", "/v1/b2/new").header("etag"), '"%s"' % version)
        self.problem("POST", "/v1/batch", 412, body=body, detail="b2/new")
        items = self.call("POST", "/v1/get", body={"keys": [{"collection": "b", "key": "doc"}, {"collection": "b", "key": "there"},
                                                            {"collection": "x", "key": "y"}]}).json()["items"]
        self.assertEqual(items[0]["writer"], "me")
        self.assertEqual(items[0]["value"], {"when": {"$date": "2026-01-01T00:00:00Z"}})
        self.assertEqual([i["version"] for i in items[1:]], [None, None])
        items = self.call("POST", "/v1/get", body={"keys": [{"collection": "b", "key": "there"}], "at": v}).json()["items"]
        self.assertEqual(items[0]["value"], {"n": 1})

    def test_collections_snapshots_and_care(self):
        self.put("care/k", {"n": 1})
        snapshot = self.call("PUT", "/v1/snapshots/before", status=201).json()
        self.put("care/k", {"n": 2})
        self.assertEqual(self.call("GET", "/v1/care/k?at=@before").json(), {"n": 1})
        self.assertEqual(self.call("GET", "/v1/care/k?at=@before").header("cache-control"), "private, no-cache")
        self.problem("PUT", "/v1/snapshots/before", 409)
        self.assertIn(snapshot, self.call("GET", "/v1/snapshots").json()["items"])
        self.assertEqual(self.call("GET", "/v1/collections/care/retention").json(), {"max_age": None, "max_count": 0})
        self.call("PUT", "/v1/collections/care/retention", body={"max_age": "30d", "max_count": 1})
        self.assertEqual(self.call("GET", "/v1/collections/care/retention").json(), {"max_age": "2592000000ms", "max_count": 1})
        self.call("DELETE", "/v1/snapshots/before", status=204)
        self.problem("DELETE", "/v1/snapshots/before", 404)
        self.put("care/k", {"n": 3})
        self.call("POST", "/v1/admin/checkpoint")
        self.assertGreaterEqual(self.call("POST", "/v1/admin/vacuum?collection=care").json()["versions_removed"], 1)
        self.problem("GET", "/v1/care/k?at=" + snapshot["version"], 410)
        self.assertTrue(self.call("POST", "/v1/admin/verify").json()["ok"])
        self.assertGreater(self.call("GET", "/v1/stats").json()["writes"], 0)
        topology = self.call("GET", "/v1/admin/topology").json()
        self.assertEqual((topology["cluster"], topology["leader"], len(topology["nodes"])), ("", None, 1))
        self.assertTrue(topology["nodes"][0]["answering"])
        self.assertGreater(topology["applied"], 0)
        self.problem("DELETE", "/v1/collections/care", 428, field="confirm")
        self.problem("DELETE", "/v1/collections/care?confirm=other", 400, field="confirm")
        self.call("DELETE", "/v1/collections/care?confirm=care", status=204)
        self.problem("DELETE", "/v1/collections/care?confirm=care", 404)

    def test_who_has_closed_their_side_is_answered(self):
        value = "x" * 200000
        batch = json.dumps({"writes": [{"collection": "half", "key": "k", "value": value}]}).encode()
        for method, path, body in [("PUT", "/v1/half/k", value.encode()), ("POST", "/v1/batch", batch)] * 10:
            kind = "application/json" if path == "/v1/batch" else "application/octet-stream"
            with socket.create_connection(("127.0.0.1", self.port), 20) as s:
                s.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
                          % (method.encode(), path.encode(), kind.encode(), len(body)) + body)
                s.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: s.recv(65536), b""))
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"), answer)
            self.assertIn(b'{"version":', answer)

    def test_probes_and_what_is_for_people(self):
        self.assertEqual(self.call("GET", "/livez").body, b"alive\n")
        self.assertEqual(self.call("GET", "/readyz").body, b"ready\n")
        self.assertIn(b"/openapi.json", self.call("GET", "/").body)
        self.assertEqual(self.call("GET", "/openapi.json").json()["openapi"], "3.1.0")
        self.call("HEAD", "/openapi.json")

    def test_openapi_is_whole(self):
        ids = set()
        for path, item in self.openapi["paths"].items():
            for method, op in item.items():
                self.assertNotIn(op["operationId"], ids)
                ids.add(op["operationId"])
                named = {p["name"] for p in op["parameters"] if p["in"] == "path"}
                self.assertEqual(named, {part[1:-1] for part in path.split("/") if part.startswith("{")})
        def refs(node):
            if isinstance(node, dict):
                for k, v in node.items():
                    if k == "$ref":
                        self.schema.resolve(v)
                    refs(v)
            elif isinstance(node, list):
                for v in node:
                    refs(v)
        refs(self.openapi)


@unittest.skipUnless(shutil.which("curl"), "needs curl")
class Curl(HttpCase):
    def curl(self, *args):
        p = subprocess.run(["curl", "-sS", "--max-time", "30", *args], capture_output=True, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def test_the_same_over_both_protocols(self):
        base = "http://127.0.0.1:%d" % self.port
        bodies = []
        for version in ("--http1.1", "--http2-prior-knowledge"):
            common = [version, "-w", "\n%{http_version} %{http_code} %{content_type}"]
            out = self.curl(*common, "-X", "PUT", base + "/v1/curl/k", "-H", "content-type: application/json", "-d", '{"n":1}')
            self.assertIn(b" 200 application/json", out)
            out = self.curl(*common, base + "/v1/curl/k")
            self.assertTrue(out.startswith(b'{"n":1}') or out.startswith(b'{ "n" : 1 }'), out)
            bodies.append(out.split(b"\n")[0])
            self.assertIn(b"\n2 200" if "2" in version else b"\n1.1 200", out)
            out = self.curl(*common, "-I", base + "/v1/curl/k")
            self.assertIn(b"etag:", out.lower())
            out = self.curl(*common, base + "/v1/curl/none")
            self.assertIn(b" 404 application/problem+json", out)
            big = os.urandom(3 << 20)
            path = os.path.join(self.dir, "big")
            with open(path, "wb") as f:
                f.write(big)
            self.curl(version, "-T", path, "-H", "content-type: application/octet-stream", base + "/v1/curl/big")
            self.assertEqual(self.curl(version, base + "/v1/curl/big"), big)
            self.assertEqual(self.curl(version, "-H", "accept: application/x-ndjson", base + "/v1/curl?keys_only").count(b"\n"), 2)
        self.assertEqual(bodies[0], bodies[1])


class All(HttpCase):
    def test_zz_every_route_was_asked(self):
        missing = [(m, p) for p, item in self.openapi["paths"].items() for m in item
                   if not any(s < 400 for s in HttpCase.seen.get((m, p), ())) and p not in ("/v1/changes", "/metrics")]
        self.assertEqual(missing, [])


def load_tests(loader, _, __):
    suite = unittest.TestSuite()
    for case in (Records, Curl, All):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    unittest.main(argv=[__file__])
