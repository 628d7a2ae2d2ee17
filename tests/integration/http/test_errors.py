"""What is refused, and how: every kind of problem, held against openapi.json; CORS; a strict reader of /metrics."""
import re
import socket
import unittest

from http_case import HttpCase

JSON = {"Content-Type": "application/json"}


class Errors(HttpCase):
    def test_paths_and_methods(self):
        for path in ("/v2", "/v1", "/v1/", "/v1/c/", "/v1//k", "/v1/c/k/", "/v1/c/k/else", "/v1/a/b/c/d/e/f/g",
                     "/v1/batch/x", "/v1/admin/k", "/v1/stats/k", "/favicon.ico"):
            self.problem("GET", path, 404)
        a = self.problem("POST", "/v1/c/k", 405, field="method")
        self.assertEqual(a.header("allow"), "GET, HEAD, PUT, DELETE")
        a = self.problem("GET", "/v1/batch", 405)
        self.assertEqual(a.header("allow"), "POST")
        self.problem("PATCH", "/v1/c/k", 405)
        self.problem("DELETE", "/livez", 405)
        for path in ("/v1/c/%", "/v1/c/%4", "/v1/c/%zz", "/v1/%g0/k"):
            self.problem("GET", path, 400, detail="percent sign")
        self.problem("PUT", "/v1/c/a#b", 400, body={}, field="path", detail="%23")
        self.problem("GET", "/v1/c?prefix=a#b", 400, field="query", detail="%23")

    def test_queries(self):
        self.put("q/k", {"n": 1})
        for target, field in (("/v1/q?limit=0", "limit"), ("/v1/q?limit=x", "limit"), ("/v1/q?limit=100001", "limit"),
                              ("/v1/q?limit=99999999999999999999999", "limit"), ("/v1/q?reverse=maybe", "reverse"),
                              ("/v1/q?page=nonsense", "page"), ("/v1/q/k?at=yesterday", "at"), ("/v1/q/k?at=2999-01-01", "at"),
                              ("/v1/q?at=2999-01-01", "at"), ("/v1/q/k/diff?a=2999-01-01", "a"), ("/v1/q/k/diff?a=-1d&b=2999-01-01", "b"),
                              ("/v1/q/k?at=%00", "at"), ("/v1/q/k/diff", "a"), ("/v1/q/k/diff?a=now", "a"),
                              ("/v1/q/k/diff?a=-1m&format=xml", "format"), ("/v1/q?prefixx=a", None), ("/v1/q?prefix=a&prefix=b", "prefix"),
                              ("/v1/q?prefix=%zz", None), ("/v1/changes?since=nonsense", "since"),
                              ("/v1/changes?prefix=a", "prefix"), ("/v1/changes?heartbeat=1ms", "heartbeat")):
            self.problem("GET", target, 400, field=field)
        self.problem("GET", "/v1/q/k?at=@nowhere", 404)
        for target, field in (("/v1/q/k?ttl=soon", "ttl"), ("/v1/q/k?ttl=0s", "ttl"), ("/v1/q/k?sync=maybe", "sync"), ("/v1/q/k?ttl=8001w&at=now", None)):
            self.problem("PUT", target, 400, body={}, field=field)
        self.problem("POST", "/v1/q/k/restore", 400, field="at")
        self.problem("GET", "/v1/q/k?at=-1d", 404)
        self.problem("GET", "/v1/_varve.security/user%2Fadmin", 403, detail="own")
        self.problem("GET", "/v1/_varve.security", 403)
        self.problem("GET", "/v1/changes?collection=_varve.security", 403)
        self.problem("POST", "/v1/batch", 403, body={"writes": [{"collection": "_varve.security", "key": "k", "value": "v"}]})
        self.problem("POST", "/v1/get", 403, body={"keys": [{"collection": "_varve.security", "key": "k"}]})
        self.problem("DELETE", "/v1/collections/_varve.security?confirm=_varve.security", 403)
        self.problem("GET", "/v1/%01/k", 400, field="collection")
        self.problem("GET", "/v1/" + "n" * 121 + "/k", 400, field="collection")
        self.problem("PUT", "/v1/" + "n" * 121 + "/k", 400, body={}, field="collection")
        self.problem("PUT", "/v1/collections/" + "n" * 121 + "/retention", 400, body={}, field="collection")
        self.problem("GET", "/v1/c/k", 400, headers={"If-Match": "*"}, field="if-match")
        for name in ("X-Varve-Writer", "Idempotency-Key"):
            self.problem("PUT", "/v1/c/k", 400, body={}, headers={name: "n" * 1000}, field=name.lower())
            self.problem("DELETE", "/v1/c/k", 400, headers={name: "n" * 1000}, field=name.lower())
        self.problem("POST", "/v1/batch", 400, body={"writes": [{"collection": "c", "key": "k", "value": {}}]},
                     headers={"Idempotency-Key": "n" * 1000}, field="idempotency-key")
        self.problem("PUT", "/v1/c/k?ttl=2000000w", 400, body={}, field="ttl")
        self.problem("POST", "/v1/q/k/restore?at=2999-01-01", 400, field="at")
        self.problem("PUT", "/v1/snapshots/to-come?at=2999-01-01", 400, field="at")
        self.problem("POST", "/v1/get", 400, body={"keys": [{"collection": "q", "key": "k"}], "at": "2999-01-01"}, field="at")

    def test_nothing_expires_when_no_time_can_be_written(self):
        """RFC 3339 ends with the year 9999: what "expires" says must be one."""
        self.problem("PUT", "/v1/ttl/k?ttl=2920000d", 400, body={}, field="ttl", detail="9999")
        self.problem("POST", "/v1/batch", 400, body={"writes": [{"collection": "ttl", "key": "k", "value": {}, "ttl": "2920000d"}]},
                     detail="9999")
        self.put("ttl/k?ttl=2900000d", {})
        self.assertRegex(self.call("GET", "/v1/ttl/k").header("x-varve-expires"), r"^99\d\d-.*Z$")

    def test_a_body_that_is_not_heeded_is_refused(self):
        version = self.put("bodies/k", {"n": 1})
        for method, path in (("GET", "/v1/bodies/k"), ("DELETE", "/v1/bodies/k"), ("POST", "/v1/admin/vacuum"),
                             ("POST", "/v1/bodies/k/restore?at=" + version), ("GET", "/v1/changes"), ("PUT", "/v1/snapshots/bodies"),
                             ("DELETE", "/v1/collections/bodies?confirm=bodies")):
            self.problem(method, path, 400, body={"if_version": "1"}, field="body")
            self.problem(method, path, 400, body=b"x" * 200000, field="body")
        self.assertEqual(self.call("GET", "/v1/bodies/k", headers={"Content-Length": "0"}).header("etag"), '"%s"' % version)
        for chunks, status in ((b"0\r\n\r\n", b"200"), (b"1\r\nx\r\n0\r\n\r\n", b"400")):
            with socket.create_connection(("127.0.0.1", self.port), 20) as s:
                s.sendall(b"GET /v1/bodies/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
                self.assertEqual(b"".join(iter(lambda: s.recv(65536), b"")).split(b" ")[1], status)

    def test_what_may_be_said_once(self):
        version = self.put("once/k", {"n": 1})
        for name, values in (("Content-Type", ["application/json", "application/octet-stream"]), ("Idempotency-Key", ["a", "b"]),
                             ("X-Varve-Writer", ["ann", "ann"]), ("Authorization", ["Basic eDp5", "Bearer z"]),
                             ("Content-Range", ["bytes 0-1/2"] * 2), ("Origin", ["http://127.0.0.1:%d" % self.port, "https://evil.example"]),
                             ("Sec-Fetch-Site", ["same-origin", "cross-site"])):
            self.problem("PUT", "/v1/once/k", 400, body=b"{}", headers={name: values}, field=name.lower())
        self.problem("GET", "/v1/changes", 400, headers={"Last-Event-ID": ["a", "b"], "Accept": "text/event-stream"}, field="last-event-id")
        self.problem("PUT", "/v1/once/k", 415, body=b"{}", headers={"Content-Encoding": ["identity", "gzip"]}, field="content-encoding")
        self.assertEqual(self.call("GET", "/v1/once/k").header("etag"), '"%s"' % version)
        self.assertEqual(self.raw("GET", "/v1/once/k", headers={"If-None-Match": ['"00"', '"%s"' % version]}).status, 304)
        self.call("GET", "/v1/once/k", headers={"Accept": ["text/html", "application/json"]})

    def test_a_condition_without_a_tag_is_none_that_holds(self):
        version = self.put("cond/k", {"n": 1})
        for value in ("", ",", " , "):
            for method, body in (("PUT", {"n": 2}), ("DELETE", None)):
                self.problem(method, "/v1/cond/k", 412, body=body, headers={"If-Match": value}, field="if-match")
                self.problem(method, "/v1/cond/k", 400, body=body, headers={"If-None-Match": value}, field="if-none-match")
        self.assertEqual(self.call("GET", "/v1/cond/k", headers={"If-None-Match": ""}).header("etag"), '"%s"' % version)

    def test_media_types(self):
        self.put("m/doc", {"n": 1})
        self.call("PUT", "/v1/m/raw", body=b"raw")  # without a type it is bytes
        for path, accept in (("/v1/m/doc", "text/html"), ("/v1/m/raw", "application/json"), ("/v1/m", "text/plain"),
                             ("/v1/m/doc", "application/json;q=0"), ("/v1/changes", "image/png")):
            self.problem("GET", path, 406, headers={"Accept": accept}, field="accept")
        for accept in ("*/*", "application/*", "text/html, application/json;q=0.5", "APPLICATION/JSON", ""):
            self.call("GET", "/v1/m/doc", headers={"Accept": accept})
        a = self.call("GET", "/v1/m/doc", headers={"Accept": "application/json;q=0.1, application/bson"})
        self.assertEqual(a.header("content-type"), "application/bson")
        self.problem("PUT", "/v1/m/x", 415, body=b"n=1", headers={"Content-Type": "application/x-www-form-urlencoded"}, field="content-type")
        self.problem("POST", "/v1/batch", 415, body=b"{}", headers={"Content-Type": "text/plain"})
        self.problem("POST", "/v1/batch", 415, body=b"{}")
        self.call("PUT", "/v1/m/doc", body=b"{}", headers={"Content-Type": "application/json; charset=utf-8"})
        self.problem("PUT", "/v1/m/raw", 415, body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, field="content-encoding")
        self.problem("PUT", "/v1/m/raw", 400, body=b"ra", headers={"Content-Range": "bytes 0-1/3"}, field="content-range")
        self.assertEqual(self.call("GET", "/v1/m/raw").body, b"raw")
        self.call("PUT", "/v1/m/raw", body=b"raw", headers={"Content-Encoding": "identity"})

    def test_bodies(self):
        for body in (b"", b"{", b"[1]", b'"text"', b'{"a":1,"a":2}', b'{"a":NaN}', b"{} {}", b"\xff"):
            self.problem("PUT", "/v1/x/k", 400, body=body, headers=JSON, field="body")
        self.problem("PUT", "/v1/x/k", 400, body=b"\x05\x00\x00\x00\x01", headers={"Content-Type": "application/bson"})
        a = self.problem("PUT", "/v1/x/k", 413, body=b"x" * ((16 << 20) + 1), headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(a.json()["limit"], 16 << 20)
        a = self.problem("PUT", "/v1/x/k", 413, body=b"x" * ((17 << 20) + 1), headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(a.json()["limit"], 17 << 20)
        a = self.problem("PUT", "/v1/x/k", 413, body=b'{"a":"' + b"x" * (16 << 20) + b'"}', headers=JSON, field="body")
        self.assertEqual(a.json()["limit"], 16 << 20)
        for key in ("%00" * 65537,):
            self.assertIn(self.raw("GET", "/v1/x/" + key).status, (400, 414, 431))
        for body, field in (({}, "writes"), ({"writes": []}, "writes"), ({"writes": {}}, "writes"), ({"writes": [1]}, "writes[0]"),
                            ({"writes": [{"key": "k", "value": {}}]}, "writes[0].collection"),
                            ({"writes": [{"collection": "c", "value": {}}]}, "writes[0].key"),
                            ({"writes": [{"collection": "c", "key": 1, "value": {}}]}, "writes[0].key"),
                            ({"writes": [{"collection": "c", "key": "k"}]}, "writes[0].value"),
                            ({"writes": [{"collection": "c", "key": "k", "value": 1}]}, "writes[0].value"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "delete": True}]}, "writes[0].value"),
                            ({"writes": [{"collection": "c", "key": "k", "delete": True, "ttl": "1h"}]}, "writes[0].ttl"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "ttl": "x"}]}, "writes[0].ttl"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "ttl": "0s"}]}, "writes[0].ttl"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "tll": "1h"}]}, "writes[0].tll"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "version": "0000000000000001"}]}, "writes[0].version"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}, "if_version": "x"}]}, "writes[0].if_version"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}}], "require": [{"collection": "c", "key": "k"}]},
                             "require[0].version"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}}], "sync": "x"}, "sync"),
                            ({"writes": [{"collection": "c", "key": "k", "value": {}}], "else": 1}, None)):
            self.problem("POST", "/v1/batch", 400, body=body, field=field)
        self.problem("POST", "/v1/batch", 400, body={"writes": [{"collection": "c", "key": "k", "value": {}}] * 2})
        a = self.problem("POST", "/v1/batch", 413, body={"writes": [{"collection": "c", "key": "k", "value": {}}] * 10001}, field="writes")
        self.assertEqual(a.json()["limit"], 10000)
        for body in ({}, {"keys": []}, {"keys": [{}]}, {"keys": [{"collection": "c"}]}, {"keys": "k"}, {"keys": [{"collection": "c", "key": "k"}], "at": "x"}):
            self.problem("POST", "/v1/get", 400, body=body)
        self.put("ret/k", {})
        for body in ({"max_age": "x"}, {"max_count": -1}, {"max_count": "1"}, {"else": 1}):
            self.problem("PUT", "/v1/collections/ret/retention", 400, body=body)
        self.problem("GET", "/v1/collections/nothing/retention", 404)

    def test_documents_and_bytes_do_not_mix(self):
        self.call("PUT", "/v1/mix/k", body=b"raw")
        version = self.put("mix/k", {})
        self.assertEqual(self.call("GET", "/v1/mix/k/diff?a=" + version).json(), {"set": {}, "unset": []})
        history = self.call("GET", "/v1/mix/k/history").json()["items"]
        self.assertEqual([i["type"] for i in history], ["document", "bytes"])
        self.problem("GET", "/v1/mix/k/diff?a=" + history[1]["version"], 400)

    def test_no_cors_unless_asked(self):
        a = self.call("GET", "/livez", headers={"Origin": "https://app.example"})
        self.assertIsNone(a.header("access-control-allow-origin"))
        a = self.raw("OPTIONS", "/v1/c/k", headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"})
        self.assertEqual(a.status, 204)
        self.assertIsNone(a.header("access-control-allow-methods"))
        self.assertEqual(a.header("allow"), "GET, HEAD, PUT, DELETE")

    def test_pages_of_other_sites_change_nothing(self):
        """A POST without a body asks no leave of CORS: a browser just sends it, and says whose page it is."""
        version = self.put("site/k", {"n": 1})
        self.put("site/k", {"n": 2})
        host = "127.0.0.1:%d" % self.port
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
                        {"Origin": "http://" + host, "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            self.problem("POST", "/v1/site/k/restore?at=" + version, 403, detail="http.cors", headers=headers)
            self.problem("POST", "/v1/admin/vacuum", 403, headers=headers)
            self.call("GET", "/v1/site/k", headers=headers)
        self.assertEqual(self.call("GET", "/v1/site/k").json(), {"n": 2})
        for headers in ({"Origin": "http://" + host}, {"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"},
                        {"Sec-Fetch-Site": "none"}):
            self.call("POST", "/v1/admin/checkpoint", headers=headers)

    def test_half_a_request_and_garbage_harm_nobody(self):
        for bytes_ in (b"PUT /v1/c/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", b"\x00\x01\x02", b"GET /v1/c"):
            s = socket.create_connection(("127.0.0.1", self.port), 10)
            s.sendall(bytes_)
            s.close()
        self.call("GET", "/livez")

    def test_metrics(self):
        self.put("metrics/k", {})
        text = self.call("GET", "/metrics").body.decode()
        check_prometheus(self, text)
        self.assertIn("\nvarve_denied_total ", text)


def check_prometheus(case, text):
    """The text format 0.0.4, strictly: TYPE before its samples and once, samples of a family together, labels well formed,
    histograms cumulative with +Inf equal to the count."""
    case.assertTrue(text.endswith("\n"))
    name, number = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r"(?:[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Inf)|NaN)"
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(r"^(%s)(?:\{(%s(?:,%s)*),?\})? (%s)$" % (name, label, label, number))
    types, done, family, seen, buckets = {}, set(), None, set(), {}
    for line in text[:-1].split("\n"):
        comment = re.match(r"^# (HELP|TYPE) (%s) (.+)$" % name, line)
        if comment:
            kind, who, rest = comment.groups()
            if who != family:
                case.assertNotIn(who, done, "the family stands apart")
                done.add(family)
                family = who
            if kind == "TYPE":
                case.assertNotIn(who, types)
                case.assertIn(rest, ("counter", "gauge", "histogram", "summary", "untyped"))
                types[who] = rest
            continue
        m = sample.match(line)
        case.assertTrue(m, line)
        who, labels, value = m.groups()
        case.assertNotIn((who, labels), seen, line)
        seen.add((who, labels))
        base = re.sub(r"_(bucket|sum|count)$", "", who) if types.get(who) is None else who
        case.assertEqual(base, family, line)
        case.assertIn(base, types, line)
        if types[base] == "counter":
            case.assertTrue(who.endswith("_total"), line)
        if types[base] in ("counter", "histogram"):
            case.assertGreaterEqual(float(value), 0)
        if types[base] == "histogram":
            rest = ",".join(x for x in re.findall(label, labels or "") if not x.startswith("le="))
            h = buckets.setdefault((base, rest), {"last": 0.0, "le": float("-inf")})
            if who.endswith("_bucket"):
                le = float(re.search(r'le="([^"]+)"', labels).group(1))
                case.assertGreater(le, h["le"], line)
                case.assertGreaterEqual(float(value), h["last"], line)
                h["le"], h["last"] = le, float(value)
            elif who.endswith("_count"):
                h["count"] = float(value)
    for who, h in buckets.items():
        case.assertEqual((h["le"], h["last"]), (float("inf"), h["count"]), who)


class Cors(HttpCase):
    words = ("cors",)

    def test_listed_origins(self):
        a = self.raw("OPTIONS", "/v1/c/k", headers={"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"})
        self.assertEqual((a.status, a.header("access-control-allow-origin")), (204, "https://app.example"))
        self.assertIn("PUT", a.header("access-control-allow-methods"))
        a = self.call("GET", "/livez", headers={"Origin": "https://app.example"})
        self.assertEqual(a.header("access-control-allow-origin"), "https://app.example")
        a = self.problem("GET", "/v1/c/none", 404, headers={"Origin": "https://app.example"})
        self.assertEqual(a.header("access-control-allow-origin"), "https://app.example")
        a = self.call("GET", "/livez", headers={"Origin": "https://evil.example"})
        self.assertIsNone(a.header("access-control-allow-origin"))
        self.assertEqual(a.header("vary"), "origin")
        self.call("POST", "/v1/admin/checkpoint", headers={"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"})
        self.problem("POST", "/v1/admin/checkpoint", 403, headers={"Origin": "https://evil.example"})


if __name__ == "__main__":
    unittest.main(argv=[__file__])
