"""Changes: pages, and Server-Sent Events as a browser reads them, with heartbeats, coming back, and an end."""
import http.client
import json
import socket
import time
import unittest

from http_case import HttpCase


class Events:
    """A reader of text/event-stream, by the HTML Standard."""

    def __init__(self, port, target, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.request("GET", target, headers=dict({"Accept": "text/event-stream"}, **(headers or {})))
        self.answer = self.connection.getresponse()
        self.last_id, self.heartbeats, self.retry = "", 0, None

    def place(self):
        """The id that comes with the next heartbeat."""
        event = self.next(heartbeat=True)
        if event is not None:
            raise AssertionError("an event instead of a heartbeat: %s" % (event,))
        return self.last_id

    def next(self, heartbeat=False):
        """The next event as (id, type, data); None at the end, or where asked for behind a heartbeat."""
        kind, data, beats = "message", [], self.heartbeats
        while True:
            line = self.answer.readline()
            if not line:
                return None
            line = line.decode().rstrip("\n")
            if line == "":
                if data:
                    return self.last_id, kind, json.loads("\n".join(data))
                if heartbeat and self.heartbeats > beats:
                    return None
                kind = "message"
            elif line.startswith(":"):
                self.heartbeats += 1
            else:
                field, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if field == "id":
                    self.last_id = value
                elif field == "event":
                    kind = value
                elif field == "data":
                    data.append(value)
                elif field == "retry":
                    self.retry = int(value)

    def close(self):
        self.answer.close()
        self.connection.close()


class Changes(HttpCase):
    def test_pages(self):
        versions = [self.put("p/k%d" % i, {"n": i}) for i in range(10)]
        self.call("DELETE", "/v1/p/k3")
        page = self.call("GET", "/v1/changes?collection=p&limit=4").json()
        self.assertEqual([i["version"] for i in page["items"]], versions[:4])
        self.assertTrue(page["more"])
        rest = self.call("GET", "/v1/changes?collection=p&since=" + page["next"]).json()
        self.assertEqual([i["version"] for i in rest["items"][:6]], versions[4:])
        self.assertEqual(rest["items"][6]["kind"], "delete")
        self.assertNotIn("value", rest["items"][6])
        self.assertFalse(rest["more"])
        again = self.call("GET", "/v1/changes?collection=p&values=false&since=" + page["items"][1]["token"]).json()
        self.assertEqual(again["items"][0]["version"], versions[2])
        self.assertNotIn("value", again["items"][0])
        self.assertEqual(self.call("GET", "/v1/changes?since=now").json()["items"], [])
        lines = self.call("GET", "/v1/changes?collection=p&prefix=k7", headers={"Accept": "application/x-ndjson"}).lines()
        self.assertEqual([line.get("key") for line in lines], ["k7", None])
        self.assertEqual(set(lines[1]), {"next", "more"})

    def test_events(self):
        first = self.put("e/before", {"n": 0})
        e = self.open_events("/v1/changes?collection=e&since=")
        self.assertEqual(e.answer.status, 200)
        self.assertEqual(e.answer.getheader("content-type"), "text/event-stream")
        _, kind, data = e.next()
        self.assertEqual((kind, data["version"], data["value"]), ("put", first, {"n": 0}))
        for i in range(5):
            version = self.put("e/k", {"n": i})
            where, kind, data = e.next()
            self.assertEqual((kind, data["key"], data["version"]), ("put", "k", version))
        self.call("DELETE", "/v1/e/k")
        self.assertEqual(e.next()[1], "delete")
        self.put("other/k", {})
        time.sleep(0.6)
        last = self.put("e/last", {"line": "one\ntwo"})
        where2, _, data = e.next()
        self.assertEqual(data["value"], {"line": "one\ntwo"})
        self.assertGreaterEqual(e.heartbeats, 1)
        self.assertEqual(e.retry, 1000)
        e.close()
        # Coming back: what was written meanwhile is told, and nothing twice.
        missed = self.put("e/missed", {"n": 9})
        e = self.open_events("/v1/changes?collection=e", {"Last-Event-ID": where})
        got = [e.next()[2]["version"] for _ in range(3)]
        self.assertEqual(got[1:], [last, missed])
        e.close()
        e = self.open_events("/v1/changes?collection=e")  # from here on
        version = self.put("e/now", {})
        self.assertEqual(e.next()[2]["version"], version)
        e.close()

    def rows_read(self):
        text = self.call("GET", "/metrics").body.decode()
        return int(next(line for line in text.splitlines() if line.startswith("varve_changes_read_total")).split()[1])

    def test_a_place_moves_over_what_the_filter_holds_back(self):
        self.put("quiet/first", {})
        for i in range(300):
            self.put("noise/k", {"n": i})
        target = "/v1/changes?collection=quiet&heartbeat=100ms"
        e = self.open_events(target + "&since=")
        row, _, _ = e.next()
        place = e.place()
        self.assertNotEqual(row, place)
        e.close()
        version = self.put("quiet/second", {})
        for since, read in ((row, range(301, 310)), (place, range(1, 10))):  # another test's listener reads too
            before = self.rows_read()
            e = self.open_events(target, {"Last-Event-ID": since})
            self.assertEqual(e.next()[2]["version"], version)
            self.assertIn(self.rows_read() - before, read)
            e.close()
        # Pages do the same, and what is behind a place comes also while the listener is away.
        page = self.call("GET", "/v1/changes?collection=quiet&since=" + place).json()
        self.assertEqual([i["version"] for i in page["items"]], [version])
        self.assertNotEqual(page["next"], page["items"][0]["token"])
        for i in range(100):
            self.put("noise/k", {"n": i})
        version = self.put("quiet/third", {})
        before = self.rows_read()
        lines = self.call("GET", "/v1/changes?collection=quiet&since=" + page["next"], headers={"Accept": "application/x-ndjson"}).lines()
        self.assertEqual(lines[0]["version"], version)
        self.assertGreaterEqual(self.rows_read() - before, 101)
        before = self.rows_read()
        self.assertEqual(self.call("GET", "/v1/changes?collection=quiet&since=" + lines[1]["next"]).json()["items"], [])
        self.assertIn(self.rows_read() - before, range(10))

    def test_who_listens_from_now_on_knows_the_place_at_once(self):
        e = self.open_events("/v1/changes?collection=first&heartbeat=1h")
        place = e.place()
        e.close()
        version = self.put("first/k", {})
        e = self.open_events("/v1/changes?collection=first", {"Last-Event-ID": place})
        self.assertEqual(e.next()[2]["version"], version)
        e.close()

    def open_events(self, target, headers=None):
        """Those of tests before may still be ending."""
        deadline = time.time() + 15
        while True:
            e = Events(self.port, target, headers)
            if e.answer.status == 200:
                return e
            e.close()
            self.assertLess(time.time(), deadline)
            time.sleep(0.05)

    def test_head_does_not_listen(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        for _ in range(5):  # more than there may be listeners
            connection.request("HEAD", "/v1/changes", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.getheader("content-type")), (200, "text/event-stream"))
            self.assertEqual(answer.read(), b"")
        connection.request("GET", "/livez")
        self.assertEqual(connection.getresponse().read(), b"alive\n")
        connection.close()

    def test_it_ends_for_who_has_closed_their_side(self):
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(b"GET /v1/changes HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer)

    def test_limit_ends_it(self):
        for i in range(3):
            self.put("l/k%d" % i, {})
        e = self.open_events("/v1/changes?collection=l&since=&limit=2")
        self.assertIsNotNone(e.next())
        self.assertIsNotNone(e.next())
        self.assertIsNone(e.next())
        e.close()

    def test_too_many_streams_and_bad_tokens(self):
        streams = []
        try:
            while True:
                e = Events(self.port, "/v1/changes")
                streams.append(e)
                if e.answer.status != 200:
                    break
                self.assertLessEqual(len(streams), 4)
            self.assertEqual((e.answer.status, e.answer.getheader("retry-after")), (429, "1"))
            a = self.call("GET", "/v1/changes", headers={"Accept": "text/event-stream"}, status=429)
            self.assertIn("limit of 4", a.json()["detail"])
        finally:
            for e in streams:
                e.close()
        self.open_events("/v1/changes").close()  # there is room again
        self.problem("GET", "/v1/changes", 400, headers={"Accept": "text/event-stream", "Last-Event-ID": "nonsense"}, field="since")

    def test_a_listener_does_not_hold_up_the_end(self):
        e = self.open_events("/v1/changes")
        self.put("x/y", {})
        self.assertIsNotNone(e.next())
        # tearDownClass stops the server under it and checks that it ends well.
        type(self).left_open = e

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.left_open.close()


class Hasty(HttpCase):
    words = ("hasty",)

    def test_who_reads_slowly_but_reads_gets_all_of_long_rows(self):
        value = b"x" * (10 << 20)
        for key in "ab":
            self.call("PUT", "/v1/long/" + key, body=value)
        for path, kind in (("/v1/long", b"application/x-ndjson"), ("/v1/changes?since=&limit=2", b"text/event-stream")):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                s.settimeout(20)
                s.connect(("127.0.0.1", self.port))
                s.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nConnection: close\r\n\r\n" % (path.encode(), kind))
                n, tail = 0, b""
                while True:
                    time.sleep(0.01)
                    part = s.recv(65536)
                    if not part:
                        break
                    n, tail = n + len(part), (tail + part)[-5:]
            self.assertGreater(n, 2 * len(value), path)
            self.assertEqual(tail, b"0\r\n\r\n", path)


class Narrow(HttpCase):
    words = ("narrow",)

    def test_a_herd_of_listeners_hears(self):
        """One write wakes more of them than the pool takes: none is cut off."""
        listeners = []
        for _ in range(4):  # one after the other: to open one takes the pool too, and is refused
            e = Events(self.port, "/v1/changes?collection=herd&heartbeat=1h")
            self.assertEqual(e.answer.status, 200)
            e.place()
            listeners.append(e)
        for i in range(50):
            version = self.put("herd/k", {"n": i})
            for e in listeners:
                event = e.next()
                self.assertIsNotNone(event, "a listener was cut off at write %d" % i)
                self.assertEqual(event[2]["version"], version)
        for e in listeners:
            e.close()


if __name__ == "__main__":
    unittest.main(argv=[__file__])
