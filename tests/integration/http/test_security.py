"""Who may do what: passwords, tokens, roles, the limit of failures, and what is told to whom."""
import base64
import re
import unittest

from http_case import HttpCase


def basic(user, password=None):
    text = "%s:%s" % (user, password or "password of " + user)
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


class Security(HttpCase):
    words = ("auth",)

    def test_a_nobody_gets_nothing_but_probes(self):
        for method, path in (("GET", "/v1/app-x/k"), ("PUT", "/v1/app-x/k"), ("GET", "/v1/changes"), ("GET", "/v1/stats"),
                             ("GET", "/metrics"), ("POST", "/v1/batch"), ("GET", "/v1/collections"), ("POST", "/v1/admin/vacuum")):
            a = self.problem(method, path, 401)
            self.assertIn("Basic", a.header("www-authenticate"))
            self.assertIn("Bearer", a.header("www-authenticate"))
        for path in ("/", "/livez", "/readyz", "/openapi.json"):
            self.call("GET", path)

    def test_roles(self):
        self.call("PUT", "/v1/app-a/k", body={"n": 1}, headers=basic("writer"))
        a = self.call("GET", "/v1/app-a/k", headers=basic("writer"))
        self.assertEqual(a.header("x-varve-writer"), "writer")
        self.assertTrue(a.header("cache-control").startswith("private"))
        self.problem("PUT", "/v1/other/k", 403, detail="role write on other", body={}, headers=basic("writer"))
        self.problem("GET", "/v1/collections", 403, headers=basic("writer"))
        self.call("GET", "/v1/app-a/k", headers=basic("reader"))
        self.call("GET", "/v1/collections", headers=basic("reader"))
        self.problem("PUT", "/v1/app-a/k", 403, body={}, headers=basic("reader"))
        self.problem("DELETE", "/v1/app-a/k", 403, headers=basic("reader"))
        self.problem("POST", "/v1/admin/checkpoint", 403, headers=basic("reader"))
        self.call("POST", "/v1/admin/checkpoint", headers=basic("admin"))
        self.call("GET", "/metrics", headers=basic("admin"))
        self.problem("POST", "/v1/batch", 403, headers=basic("writer"),
                     body={"writes": [{"collection": "app-a", "key": "x", "value": {}}, {"collection": "b", "key": "x", "value": {}}]})
        self.problem("GET", "/v1/app-a/x", 404, headers=basic("writer"))
        self.problem("POST", "/v1/get", 403, headers=basic("writer"),
                     body={"keys": [{"collection": "app-a", "key": "x"}, {"collection": "b", "key": "x"}]})
        self.problem("GET", "/v1/changes", 403, headers=basic("writer"))
        self.call("GET", "/v1/changes?collection=app-a", headers=basic("writer"))

    def test_tokens(self):
        token = {"Authorization": "Bearer " + self.token}
        self.call("GET", "/v1/app-t", headers=token)
        self.problem("GET", "/v1/other", 403, headers=token)
        self.problem("PUT", "/v1/app-t/k", 403, body={}, headers=token)
        self.problem("GET", "/v1/app-t", 401, headers={"Authorization": "Bearer " + self.token[:-1] + "!"})
        self.problem("GET", "/v1/app-t", 401, headers={"Authorization": "Bearer nonsense"})
        self.problem("GET", "/v1/app-t", 401, headers={"Authorization": "Negotiate x"}, detail="only Basic")
        self.problem("GET", "/v1/app-t", 400, field="authorization",
                     headers={"Authorization": [token["Authorization"], basic("writer")["Authorization"]]})

    def test_secrets_of_the_system_stay_hidden_from_the_mightiest(self):
        admin = basic("admin")
        self.problem("GET", "/v1/_varve.security/user%2Fadmin", 403, headers=admin)
        self.problem("PUT", "/v1/_varve.security/user%2Fme", 403, body={}, headers=admin)
        names = [i["name"] for i in self.call("GET", "/v1/collections", headers=admin).json()["items"]]
        self.assertEqual([n for n in names if n.startswith("_varve.")], [])
        items = self.call("GET", "/v1/changes", headers=admin).json()["items"]
        self.assertEqual([i for i in items if i["collection"].startswith("_varve.")], [])

    def test_zz_guessing_has_an_end(self):
        statuses = set()
        for i in range(40):
            a = self.raw("GET", "/v1/app-a", headers=basic("writer", "guess %d" % i))
            statuses.add(a.status)
            if a.status == 429:
                self.check("GET", "/v1/app-a", a)
                wait_ms = int(re.search(r"wait (\d+) ms", a.json()["detail"])[1])
                self.assertEqual(int(a.header("retry-after")), -(-wait_ms // 1000))
                break
        self.assertEqual(statuses, {401, 429})


if __name__ == "__main__":
    unittest.main(argv=[__file__])
