"""--at in all its forms."""
import datetime
import time

from cli_case import CliCase, main


class Moments(CliCase):
    def setUp(self):
        super().setUp()
        self.v1 = self.put("t/a", {"n": 1})
        time.sleep(0.05)
        self.between = datetime.datetime.now(datetime.timezone.utc)
        time.sleep(0.05)
        self.v2 = self.put("t/a", {"n": 2})

    def at(self, when):
        return self.get("t/a", "--at", when)["n"]

    def test_versions_and_snapshots(self):
        self.assertEqual(self.at(self.v1), 1)
        self.assertEqual(self.at(self.v2.upper()), 2)
        self.varve("snapshot", "create", "s", "--at", self.v1)
        self.assertEqual(self.at("@s"), 1)
        self.assertEqual(self.at("now"), 2)
        self.varve("get", "t/a", "--at", "@none", code=1)

    def test_times(self):
        t = self.between
        utc = t.strftime("%Y-%m-%dT%H:%M:%S.%f")
        self.assertEqual(self.at(utc + "Z"), 1)
        self.assertEqual(self.at(utc), 1)
        self.assertEqual(self.at(utc.replace("T", " ") + "z"), 1)
        east = t.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
        self.assertEqual(self.at(east.strftime("%Y-%m-%dT%H:%M:%S.%f+05:30")), 1)
        west = t.astimezone(datetime.timezone(datetime.timedelta(hours=-8)))
        self.assertEqual(self.at(west.strftime("%Y-%m-%dT%H:%M:%S.%f-08:00")), 1)

    def test_relative(self):
        self.varve("get", "t/a", "--at", "-5m", code=1)
        self.varve("get", "t/a", "--at=-1h30m", code=1)
        ago = datetime.datetime.now(datetime.timezone.utc) - self.between
        self.assertIn(self.at("-%dms" % (ago.total_seconds() * 1000 + 5)), (1, 2))

    def test_before_and_after(self):
        self.varve("get", "t/a", "--at", "2020-01-01", code=1)
        self.varve("get", "t/a", "--at", "2999-01-01T00:00:00Z", code=2)
        self.assertIn("future", self.err)

    def test_nonsense(self):
        for bad in ("", "yesterday", "2026-13-01", "2026-02-30", "2026-02-01T25:00:00Z", "2026-02-01T00:00:00+1",
                    "-5", "-m", "@", "018f", "2026-02-01T", "2026-02-01T00:00:00Zx", "1969-12-31"):
            self.varve("get", "t/a", "--at", bad, code=2)
            self.assertIn("--at", self.err)

    def test_diff_from_what_is_kept(self):
        """The record in force at a moment may be older than all that retention keeps; the moment is not."""
        self.varve("retention", "t", "--max-age", "1ms")
        time.sleep(0.05)
        self.varve("vacuum", "t")
        self.varve("snapshot", "create", "s")
        self.assertEqual(self.at("@s"), 2)
        between = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.assertEqual(self.at(between), 2)
        time.sleep(0.05)
        self.put("t/a", {"n": 3})
        for when in ("@s", between):
            self.assertEqual(self.varve("diff", "t/a", when), "set    n = 3\n")
            self.assertEqual(self.varve("diff", "t/a", when, when), "")
        self.varve("diff", "t/a", self.v1, code=1)
        self.assertIn("keeps nothing before", self.err)

    def test_scan_at(self):
        self.put("t/b", {"n": 3})
        self.assertEqual(self.scan("t", "--at", self.v1), {"a": {"n": 1}})
        self.assertEqual(self.scan("t"), {"a": {"n": 2}, "b": {"n": 3}})


if __name__ == "__main__":
    main()
