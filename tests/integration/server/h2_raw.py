"""Just enough of HTTP/2 (RFC 9113) by hand to misbehave with: frames as bytes, headers without compression."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    assert len(value) < 127
    return bytes([len(value)]) + value.encode()


def field(name, value):
    """A literal that is not to be indexed (RFC 7541, 6.2.2)."""
    return b"\0" + text(name) + text(value)


def request(stream, path, method="GET", end=True, more=()):
    block = b"".join(field(n, v) for n, v in [(":method", method), (":scheme", "http"), (":path", path),
                                              (":authority", "localhost"), *more])
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def settings(**values):
    ids = {"window": 4, "streams": 3}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", ids[k], v) for k, v in values.items()))


def connect(port, timeout=20):
    s = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    s.sendall(PREFACE + settings())
    return s


class Reader:
    """Frames out of a socket: (kind, flags, stream, payload); None at the end."""

    def __init__(self, sock):
        self.sock, self.kept = sock, b""

    def take(self, n):
        while len(self.kept) < n:
            more = self.sock.recv(65536)
            if not more:
                return None
            self.kept += more
        out, self.kept = self.kept[:n], self.kept[n:]
        return out

    def frame(self):
        try:
            head = self.take(9)
            if head is None:
                return None
            payload = self.take(int.from_bytes(head[:3], "big"))
        except ConnectionError:
            return None
        return None if payload is None else (head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)
