"""Three real nodes whose links go through relays that a test slows down. VARVE_KEEP=1 keeps folders and logs."""
import socket
import threading
import time
import unittest

from cluster_case import Cluster, ClusterCase

PIECE_S = 0.02  # of a second's bytes at once
KERNEL_BYTES = 32768  # of sockets' buffers: what has been sent has nearly arrived


class Relay:
    """What one node dials to reach another: passes on at most `rate` bytes a second to it (0: as they come)."""

    def __init__(self, target):
        self.target, self.rate, self.pairs = target, 0, []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
            try:
                far.connect(("127.0.0.1", self.target))
            except OSError:
                near.close()
                far.close()
                continue
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((near, far))
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, a, b, forth):
        try:
            while True:
                rate = self.rate if forth else 0
                data = a.recv(int(rate * PIECE_S) if rate else 65536)
                if not data:
                    break
                if rate:
                    time.sleep(len(data) / rate)
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for pair in self.pairs:
            for s in pair:
                s.close()


class RelayedCluster(Cluster):
    def __init__(self, n=3, words=()):
        super().__init__(n, words)
        self.relays = {(a.id, b.id): Relay(b.peer_port) for a in self.nodes for b in self.nodes if a is not b}
        for a in self.nodes:
            a.nodes_text = ",".join(f"{b.id}@127.0.0.1:{b.peer_port if a is b else self.relays[a.id, b.id].port}"
                                    for b in self.nodes)

    def end(self):
        super().end()
        for r in self.relays.values():
            r.close()


def connects(node, other):
    metrics = node.ask("GET", "/metrics")[1].decode()
    return int(metrics.split(f'\nvarve_peer_connects_total{{node="{other.id}"}} ', 1)[1].split("\n", 1)[0])


class Slow(ClusterCase):
    def test_an_entry_that_takes_long_on_a_slow_link_gets_through(self):
        """Longer than a link is silent before it is taken for dead."""
        c = RelayedCluster()
        self.addCleanup(c.end)
        c.start()
        leader = c.leader()
        slow = c.followers()[0]
        c.until("a link", lambda: connects(leader, slow) > 0)
        for n in c.nodes:
            if n is not slow:
                c.relays[n.id, slow.id].rate = 500000
        before = connects(leader, slow)
        for i in range(2):
            a = leader.ask("PUT", f"/v1/load/k{i}", {"i": i, "pad": "z" * 2500000})
            self.assertEqual(a.status, 200, a)
        c.caught_up(slow)
        self.assertEqual(slow.ask("GET", "/v1/load/k1?consistency=local").json["i"], 1)
        self.assertEqual(connects(leader, slow), before, "the link was cut")


if __name__ == "__main__":
    unittest.main()
