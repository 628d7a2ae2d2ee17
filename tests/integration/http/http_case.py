"""What the tests of the HTTP door share: a server for each class, requests, and every answer held against openapi.json.

The validator knows the part of JSON Schema 2020-12 that openapi.json uses and refuses the rest, so that a keyword it would
pass over fails the test."""
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SERVER = sys.argv[1] if len(sys.argv) > 1 else ""

ANNOTATIONS = {"description", "title", "format"}


class Schema:
    def __init__(self, document):
        self.document = document

    def resolve(self, ref):
        node = self.document
        assert ref.startswith("#/"), ref
        for part in ref[2:].split("/"):
            node = node[part]
        return node

    def is_type(self, value, name):
        return {
            "object": lambda v: isinstance(v, dict),
            "array": lambda v: isinstance(v, list),
            "string": lambda v: isinstance(v, str),
            "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
            "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
            "boolean": lambda v: isinstance(v, bool),
            "null": lambda v: v is None,
        }[name](value)

    def errors(self, value, schema, at="$"):
        """A list of what is wrong; empty: it is valid."""
        wrong = []
        for word, arg in schema.items():
            if word in ANNOTATIONS:
                continue
            if word == "$ref":
                wrong += self.errors(value, self.resolve(arg), at)
            elif word == "type":
                names = arg if isinstance(arg, list) else [arg]
                if not any(self.is_type(value, n) for n in names):
                    wrong.append("%s: %r is not %s" % (at, value, arg))
            elif word == "enum":
                if value not in arg:
                    wrong.append("%s: %r is not one of %s" % (at, value, arg))
            elif word == "oneOf":
                fits = [s for s in arg if not self.errors(value, s, at)]
                if len(fits) != 1:
                    wrong.append("%s: %d of oneOf fit %r" % (at, len(fits), value))
            elif word == "required":
                if isinstance(value, dict):
                    wrong += ["%s: %s is missing" % (at, n) for n in arg if n not in value]
            elif word == "properties":
                if isinstance(value, dict):
                    for n, s in arg.items():
                        if n in value:
                            wrong += self.errors(value[n], s, "%s.%s" % (at, n))
            elif word == "additionalProperties":
                assert arg is False
                if isinstance(value, dict):
                    wrong += ["%s: %s is not declared" % (at, n) for n in value if n not in schema.get("properties", {})]
            elif word == "items":
                if isinstance(value, list):
                    for i, v in enumerate(value):
                        wrong += self.errors(v, arg, "%s[%d]" % (at, i))
            elif word == "minItems":
                if isinstance(value, list) and len(value) < arg:
                    wrong.append("%s: fewer than %d" % (at, arg))
            elif word == "minimum":
                if isinstance(value, (int, float)) and value < arg:
                    wrong.append("%s: %r is below %r" % (at, value, arg))
            elif word == "maximum":
                if isinstance(value, (int, float)) and value > arg:
                    wrong.append("%s: %r is over %r" % (at, value, arg))
            elif word == "pattern":
                if isinstance(value, str) and not re.search(arg, value):
                    wrong.append("%s: %r does not fit %s" % (at, value, arg))
            else:
                raise AssertionError("the validator does not know %r" % word)
        return wrong


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def lines(self):
        return [json.loads(line) for line in self.body.splitlines()]

    def header(self, name):
        return self.headers.get(name.lower())


class HttpCase(unittest.TestCase):
    maxDiff = None
    words = ()
    seen = {}  # (method, path template) -> statuses, over all classes of the run

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="varve-http-")
        cls.server = subprocess.Popen([SERVER, cls.dir + "/db", *cls.words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first = cls.server.stdout.readline().decode().split()
        cls.port, cls.token = int(first[0]), first[1] if len(first) > 1 else ""
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=30)
        connection.request("GET", "/openapi.json")
        cls.openapi = json.loads(connection.getresponse().read())
        connection.close()
        cls.schema = Schema(cls.openapi)

    @classmethod
    def tearDownClass(cls):
        cls.server.stdin.close()
        code = cls.server.wait(30)
        cls.server.stdout.close()
        shutil.rmtree(cls.dir, ignore_errors=True)
        assert code == 0, "the server ended with %d" % code

    def raw(self, method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                for one in value if isinstance(value, list) else [value]: # a list: as often
                    connection.putheader(name, one)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            r = connection.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            connection.close()

    def template_of(self, path):
        parts = path.strip("/").split("/") if path != "/" else []
        found = []
        for template in self.openapi["paths"]:
            t = template.strip("/").split("/") if template != "/" else []
            if len(t) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(t, parts)):
                found.append((sum(a.startswith("{") for a in t), template))
        words = {t.strip("/").split("/")[1] for t in self.openapi["paths"] if t.startswith("/v1/") and "{" not in t.split("/")[2]}
        if len(parts) > 1 and parts[0] == "v1" and parts[1] in words:
            found = [f for f in found if f[1].split("/")[2] == parts[1]]
        return min(found)[1] if found else None

    def call(self, method, target, body=None, headers=None, status=200):
        """A request whose answer must have that status and be what openapi.json says."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = dict({"Content-Type": "application/json"}, **(headers or {}))
        a = self.raw(method, target, body, headers)
        self.assertEqual(a.status, status, "%s %s: %r" % (method, target, a.body[:2000]))
        self.check(method, target.split("?")[0], a)
        return a

    def check(self, method, path, a):
        self.assertTrue(a.header("x-request-id"), "an answer without x-request-id")
        template = self.template_of(path)
        if template is None or method not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            self.assertIn(a.status, (204, 400, 404, 405))
            return self.check_problem(a) if a.status >= 400 else None
        item = self.openapi["paths"][template]
        name = "get" if method == "HEAD" else method.lower()
        if name not in item:
            self.assertEqual(a.status, 405)
            return self.check_problem(a)
        HttpCase.seen.setdefault((name, template), set()).add(a.status)
        declared = item[name]["responses"]
        self.assertIn(str(a.status), declared, "%s %s answers %d, which openapi.json does not say" % (method, template, a.status))
        if a.status >= 400 and method != "HEAD":
            return self.check_problem(a)
        content = declared[str(a.status)].get("content", {})
        if not content:
            self.assertEqual(a.body, b"")
            return None
        kind = a.header("content-type")
        self.assertIn(kind, content)
        if kind in ("application/json", "application/json-patch+json") and method != "HEAD":
            wrong = self.schema.errors(a.json(), content[kind]["schema"])
            self.assertEqual(wrong, [], "%s %s" % (method, template))
        return None

    def check_problem(self, a):
        if not a.body:
            return
        self.assertEqual(a.header("content-type"), "application/problem+json")
        p = a.json()
        self.assertEqual(self.schema.errors(p, {"$ref": "#/components/schemas/Problem"}), [])
        self.assertEqual(p["status"], a.status)
        self.assertEqual(p["request_id"], a.header("x-request-id"))

    def problem(self, method, target, status, detail="", field=None, **kw):
        a = self.call(method, target, status=status, **kw)
        p = a.json()
        self.assertIn(detail, p["detail"])
        if field is not None:
            self.assertEqual(p.get("field"), field)
        return a

    def put(self, path, doc, **kw):
        return self.call("PUT", "/v1/" + path, body=doc, **kw).json()["version"]
