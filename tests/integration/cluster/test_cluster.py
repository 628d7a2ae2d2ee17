"""Three real nodes under load: killed in a loop, paused, away for long, strangers among them. VARVE_KILLS says how many
kills; VARVE_KEEP=1 keeps folders and logs."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from cluster_case import (ELECTION_MS, VARVE, Client, Cluster, ClusterCase, Load, NO_LEADER, clean_env, free_ports, pages,
                          reason)

KILLS = int(os.environ.get("VARVE_KILLS", "10"))
SEED = int(os.environ.get("VARVE_SEED", "1"))


class Kills(ClusterCase):
    def test_any_node_is_killed_again_and_again(self):
        c = self.cluster()
        rng = random.Random(SEED)
        load = Load(c)
        load.wait_acks(50)
        leaders, gaps = 0, []
        for turn in range(KILLS):
            victim = c.leader() if rng.random() < 0.4 else rng.choice(c.nodes)
            leads = victim is c.leader()
            if leads:
                leaders += 1
            victim.kill()
            first = load.wait_acks(20)
            if leads:
                gaps.append(first)
            if rng.random() < 0.3:
                time.sleep(rng.uniform(0, 0.5))
            victim.start()
            c.ready([victim])
            c.caught_up(victim)
        figures = self.check(load)
        gaps.sort()
        figures.update({"kills": KILLS, "of the leader": leaders,
                        "ms to the next acknowledged write, median and most":
                            [round(1000 * g) for g in (gaps[len(gaps) // 2], gaps[-1])] if gaps else None})
        print(json.dumps(figures))

    def test_all_nodes_are_killed_at_once(self):
        c = self.cluster()
        load = Load(c, writers=4)
        for turn in range(3):
            load.wait_acks(100)
            for n in c.nodes:
                n.process.kill()
            for n in c.nodes:
                n.kill()
            for n in c.nodes:
                n.start()
            c.ready()
        load.wait_acks(20)
        print(json.dumps(self.check(load)))


class Stops(ClusterCase):
    def test_a_leader_that_is_stopped_hands_over(self):
        c = self.cluster()
        load = Load(c, writers=2)
        load.wait_acks(20)
        old = c.leader()
        others = [n for n in c.nodes if n is not old]
        self.assertEqual(old.stop(), 0)
        # Another one leads already when it ends: nobody had to find out that it was gone.
        self.assertIn(others[0].topology()["leader"], [n.id for n in others])
        load.wait_acks(20)
        old.start()
        c.ready([old])
        self.check(load)


class Pauses(ClusterCase):
    def test_a_paused_leader_serves_no_old_present(self):
        c = self.cluster()
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/fence/k", {"n": 0}).status, 200)
        load = Load(c, writers=3)
        for turn in range(1, 4):
            load.wait_acks(20)
            old = c.leader()
            others = [n for n in c.nodes if n is not old]
            old.signal(signal.SIGSTOP)
            new = c.leader(others)
            a = c.until("a write at the new leader",
                        lambda: (lambda a: a if a.status == 200 else None)(new.ask("PUT", "/v1/fence/k", {"n": turn})))
            self.assertEqual(a.status, 200)
            asked = Client(old.port)
            old.signal(signal.SIGCONT)
            a = asked.ask("GET", "/v1/fence/k")
            # It does not know yet that it was deposed, and must ask before it answers.
            if a.status == 200:
                self.assertEqual(a.json, {"n": turn})
            else:
                self.assertEqual((a.status, reason(a)), (503, NO_LEADER))
            asked.close()
            c.caught_up(old)
        print(json.dumps(self.check(load)))

    def test_without_a_majority(self):
        c = self.cluster(words=["--cluster-timeout", "1500ms"])
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/t/k", {"n": 1}).status, 200)
        for n in c.nodes:
            c.caught_up(n)
        alone = c.leader()
        others = [n for n in c.nodes if n is not alone]
        for n in others:
            n.kill()
        # An old present is what it has; the present it cannot know, and write it cannot.
        self.assertEqual(alone.ask("GET", "/v1/t/k?consistency=local").json, {"n": 1})
        a = alone.ask("GET", "/v1/t/k")
        self.assertEqual((a.status, reason(a)), (503, NO_LEADER))
        a = alone.ask("PUT", "/v1/t/k", {"n": 2})
        self.assertIn(a.status, (503, 504))
        c.until("it is not ready", lambda: alone.ask("GET", "/readyz").status == 503)
        self.assertEqual(reason(alone.ask("GET", "/readyz")), NO_LEADER)
        self.assertEqual(alone.ask("GET", "/livez").status, 200)
        t = alone.topology()
        self.assertIsNone(t["leader"])
        self.assertEqual([n["reachable"] for n in t["nodes"]], [n["answering"] for n in t["nodes"]])
        others[0].start()
        c.ready([alone, others[0]])
        others[1].start()
        c.ready()
        for n in c.nodes:
            self.assertIn(n.ask("GET", "/v1/t/k").json, ({"n": 1}, {"n": 2}))


class Away(ClusterCase):
    def test_a_node_that_was_away_catches_up_by_entries(self):
        c = self.cluster()
        away = c.followers()[0]
        self.assertEqual(away.stop(), 0)
        rest = [n for n in c.nodes if n is not away]
        for i in range(300):
            a = rest[i % 2].ask("PUT", f"/v1/load/k{i}", {"i": i})
            self.assertEqual(a.status, 200, f"{i}: {a}")
        away.start()
        c.ready([away])
        self.assertEqual(len(pages(away, "/v1/load?limit=1000")), 300)


    def test_a_node_that_was_away_for_long_gets_a_snapshot(self):
        """More is written than the others keep of their logs: the segment that is being filled, of 16 MiB the first time and 32 the
        second, and what is not drained."""
        c = self.cluster(words=["--store-log", "2MiB", "--store-table", "1MiB"])
        away = c.followers()[0]
        self.assertEqual(away.ask("PUT", "/v1/load/before", {"n": 0}).status, 200)
        rest = [n for n in c.nodes if n is not away]
        for turn in range(2):
            away.kill()
            for i in range(200):
                a = rest[i % 2].ask("PUT", f"/v1/load/k{turn}-{i:04}", {"i": i, "pad": "z" * 100000})
                self.assertEqual(a.status, 200, a)
            self.assertEqual(rest[0].ask("POST", "/v1/admin/checkpoint").status, 200)
            self.assertEqual(rest[1].ask("POST", "/v1/admin/checkpoint").status, 200)
            away.start()
            c.ready([away])
            c.caught_up(away)
            self.assertTrue(away.has_line("another node's state was installed"))
            keys = [i["key"] for i in pages(away, "/v1/load?limit=1000&keys_only=true")]
            self.assertEqual(keys, [i["key"] for i in pages(rest[0], "/v1/load?limit=1000&keys_only=true")])
            self.assertEqual(len(keys), 1 + 200 * (turn + 1))
            self.assertEqual(away.ask("GET", "/v1/load/k0-0007?consistency=local").json["i"], 7)


class Strangers(ClusterCase):
    def test_nodes_of_other_clusters_are_refused(self):
        c = self.cluster()
        stranger = c.nodes[2]
        stranger.kill()
        stranger.words = ["--cluster-name", "another"]
        stranger.start()
        c.until("it is refused", lambda: any(n.has_line("a link is refused", because="WRONG_CLUSTER") for n in c.nodes[:2]))
        c.until("it says why", lambda: stranger.has_line("a node cannot be reached", because="WRONG_CLUSTER"))
        self.assertEqual(stranger.ask("GET", "/readyz").status, 503)
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/t/k", {"n": 1}).status, 200)
        stranger.kill()
        stranger.words = []
        stranger.start()
        c.ready()
        self.assertEqual(stranger.ask("GET", "/v1/t/k").json, {"n": 1})

    def test_a_folder_of_another_cluster_of_that_name_is_refused(self):
        c, d = self.cluster(), self.cluster()
        for x, n in ((c, 1), (d, 2)):
            self.assertEqual(x.nodes[0].ask("PUT", "/v1/t/k", {"n": n}).status, 200)
        for x in (c, d):
            x.nodes[2].kill()
        own, stranger = c.nodes[2].folder, c.nodes[2]
        stranger.folder = d.nodes[2].folder
        stranger.start()
        c.until("it is refused", lambda: all(n.has_line("a link is refused", because="WRONG_CLUSTER") for n in c.nodes[:2]))
        c.until("it says why", lambda: stranger.has_line("a node cannot be reached", because="WRONG_CLUSTER"))
        self.assertEqual(stranger.ask("GET", "/readyz").status, 503)
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/t/k", {"n": 3}).status, 200)
        stranger.kill()
        stranger.folder = own
        stranger.start()
        c.ready()
        self.assertEqual(stranger.ask("GET", "/v1/t/k").json, {"n": 3})

    def test_a_folder_stays_its_node_s(self):
        c = self.cluster()
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/t/k", {"n": 1}).status, 200)
        c.nodes[0].kill()
        c.nodes[1].kill()
        done = subprocess.run([VARVE, "serve", "--data", c.nodes[0].folder, "--listen", "127.0.0.1:0", "--node-id", "2",
                               "--cluster-nodes", c.nodes_text], capture_output=True, text=True, env=clean_env(), timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("node 1", done.stderr)
        fewer = ",".join(c.nodes_text.split(",")[:2])
        done = subprocess.run([VARVE, "serve", "--data", c.nodes[0].folder, "--listen", "127.0.0.1:0", "--node-id", "1",
                               "--cluster-nodes", fewer], capture_output=True, text=True, env=clean_env(), timeout=60)
        self.assertNotEqual(done.returncode, 0)


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Certificates(ClusterCase):
    def certificate(self, folder, name, ca=None):
        key, cert = (os.path.join(folder, f"{name}.{x}") for x in ("key", "crt"))
        by = ["-CA", ca[1], "-CAkey", ca[0]] if ca else ["-addext", "basicConstraints=critical,CA:TRUE"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", f"/CN={name}", *by, "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        return key, cert

    def words(self, own, ca):
        return ["--cluster-peer-tls-key", own[0], "--cluster-peer-tls-cert", own[1], "--cluster-peer-tls-ca", ca[1]]

    def test_nodes_show_each_other_certificates(self):
        c = Cluster()
        self.addCleanup(c.end)
        ca, other_ca = self.certificate(c.dir, "authority"), self.certificate(c.dir, "another")
        for n in c.nodes:
            n.words = self.words(self.certificate(c.dir, f"node{n.id}", ca), ca)
        c.start()
        for n in c.nodes:
            self.assertEqual(n.ask("PUT", f"/v1/t/k{n.id}", {"n": n.id}).status, 200)
            self.assertTrue(n.has_line("a node is connected", tls=True))
        stranger = c.nodes[2]
        good = stranger.words
        stranger.kill()
        stranger.words = self.words(self.certificate(c.dir, "stranger", other_ca), other_ca)
        stranger.start()
        c.until("it reaches nobody, and says why",
                lambda: stranger.has_line("a node cannot be reached", because="certificate"))
        c.until("nor is it reached", lambda: all(n.has_line("a node cannot be reached", because="certificate")
                                                 for n in c.nodes[:2]))
        t = c.until("it answers", stranger.topology)
        self.assertFalse(any(x["reachable"] for x in t["nodes"] if not x["answering"]))
        stranger.kill()
        stranger.words = []
        stranger.start()
        c.until("nor without TLS", lambda: stranger.ask("GET", "/readyz").status == 503 and
                stranger.has_line("a node cannot be reached", attempts=4))
        stranger.kill()
        stranger.words = good
        stranger.start()
        c.ready()
        self.assertEqual(stranger.ask("GET", "/v1/t/k1").json, {"n": 1})


class Sight(ClusterCase):
    def test_what_a_node_shows(self):
        c = self.cluster()
        leader = c.leader()
        self.assertEqual(leader.ask("PUT", "/v1/t/k", {"n": 1}).status, 200)
        for n in c.nodes:
            c.caught_up(n)
            self.assertEqual(n.ask("GET", "/v1/t/k").json, {"n": 1})
            c.until("all links", lambda: all(x["reachable"] for x in n.topology()["nodes"]))
            t = n.topology()
            self.assertEqual((t["cluster"], t["leader"], len(t["nodes"])), ("varve", leader.id, 3))
            self.assertEqual([x["leader"] for x in t["nodes"]], [x["id"] == leader.id for x in t["nodes"]])
            self.assertEqual([x["answering"] for x in t["nodes"]], [x["id"] == n.id for x in t["nodes"]])
            self.assertEqual([x["address"] for x in t["nodes"]], [f"127.0.0.1:{x.port}" for x in c.nodes])
            metrics = n.ask("GET", "/metrics")[1].decode()
            self.assertIn(f"\nvarve_cluster_leader {leader.id}\n", metrics)
            self.assertIn(f"\nvarve_cluster_leads {int(n is leader)}\n", metrics)
            other = 1 if n.id != 1 else 2
            self.assertIn(f'\nvarve_peer_up{{node="{other}"}} 1\n', metrics)
        c.until("the log says who leads", lambda: leader.has_line("this node leads") and all(
            n.has_line("another node leads", leader=leader.id) for n in c.nodes if n is not leader))

    def test_one_node_is_a_cluster_too(self):
        c = self.cluster(1)
        self.assertEqual(c.nodes[0].ask("PUT", "/v1/t/k", {"n": 1}).status, 200)
        self.assertEqual(c.nodes[0].ask("GET", "/v1/t/k").json, {"n": 1})
        c.nodes[0].kill()
        c.nodes[0].start()
        c.ready()
        self.assertEqual(c.nodes[0].ask("GET", "/v1/t/k").json, {"n": 1})


if __name__ == "__main__":
    unittest.main()
