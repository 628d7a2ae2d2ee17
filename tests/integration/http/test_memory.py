"""Requests whose allocations fail one by one: an answer that openapi.json knows or a broken connection, never a wrong one,
and the server goes on."""
import http.client
import json
import unittest

from http_case import HttpCase

BATCH = {"writes": [{"collection": "m", "key": "b", "value": {"n": 1}, "ttl": "1h"}], "require": [{"collection": "m", "key": "x", "absent": True}]}


class Memory(HttpCase):
    def fail_at(self, n):
        self.server.stdin.write(b"fail %d\n" % n)
        self.server.stdin.flush()
        return int(self.server.stdout.readline().split()[1])

    def walk(self, method, target, body=None, headers=None, good=200):
        if isinstance(body, dict):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        whole = self.raw(method, target, body, headers)
        self.assertEqual(whole.status, good)
        stable = method == "GET" and good == 200 and target not in ("/metrics", "/v1/stats")
        quiet = 0
        for n in range(1, 2000):
            self.fail_at(n)
            answer = None
            try:
                answer = self.raw(method, target, body, headers)
            except (http.client.HTTPException, OSError):
                pass  # the connection was cut: there was no memory to say so
            if self.fail_at(0) == 0:
                quiet += 1  # beyond the last allocation; once more, since other threads allocate too
                if quiet == 3:
                    return n
                continue
            quiet = 0
            if answer is None:
                continue
            if answer.status == good:
                if stable:  # with all of its bytes
                    self.assertEqual(answer.body, whole.body)
                continue
            self.assertIn(answer.status, (500, 503), "%s %s, allocation %d: %r" % (method, target, n, answer.body))
        self.fail("it never ends")

    def test_every_kind_of_request(self):
        self.put("m/k", {"n": 1})
        self.call("PUT", "/v1/m/raw", body=b"x")
        ndjson = {"Accept": "application/x-ndjson"}
        for request in (("GET", "/v1/m/k"), ("GET", "/v1/m/%6b?at=-1ms&canonical"), ("GET", "/v1/m/raw"),
                        ("GET", "/v1/m?prefix=%6b&limit=1"), ("GET", "/v1/m", None, ndjson), ("GET", "/v1/m/k/history"),
                        ("GET", "/v1/changes?limit=3"), ("GET", "/v1/collections"), ("GET", "/v1/snapshots"), ("GET", "/v1/stats"),
                        ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/livez"), ("GET", "/readyz"), ("PUT", "/v1/m/w", {"n": 2}),
                        ("POST", "/v1/batch", BATCH), ("POST", "/v1/get", {"keys": [{"collection": "m", "key": "k"}]})):
            self.walk(*request)
        self.walk("GET", "/v1/m/none", good=404)
        self.walk("GET", "/v1/m?limit=0", good=400)
        self.assertEqual(self.call("GET", "/v1/m/k").json(), {"n": 1})


if __name__ == "__main__":
    unittest.main(argv=[__file__])
