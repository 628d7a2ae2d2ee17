"""Put, get, batch, scan, watch, cancel and deadline by grpcio. Argument: the server's address."""
import sys
import threading

import grpc
from varve.v1 import admin_pb2, admin_pb2_grpc, changes_pb2, changes_pb2_grpc, kv_pb2, kv_pb2_grpc, types_pb2
from google.rpc import error_details_pb2, status_pb2

channel = grpc.insecure_channel(sys.argv[1])
kv = kv_pb2_grpc.KVStub(channel)
changes = changes_pb2_grpc.ChangesStub(channel)
admin = admin_pb2_grpc.AdminStub(channel)


def raw(data):
    return types_pb2.Value(raw=data)


def details(error):
    """google.rpc's details of a failed call, by the name of their type."""
    found = {}
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for item in status_pb2.Status.FromString(value).details:
                name = item.type_url.rsplit(".", 1)[1]
                found[name] = getattr(error_details_pb2, name).FromString(item.value)
    return found


def refused(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return details(error)
    raise AssertionError("not refused")


def values():
    first = kv.Put(kv_pb2.PutRequest(collection="c", key=b"k", value=raw(b"one"))).version
    kv.Put(kv_pb2.PutRequest(collection="c", key=b"k", value=raw(b"two"), options=types_pb2.WriteOptions(writer="me")))
    got = kv.Get(kv_pb2.GetRequest(collection="c", key=b"k")).record
    assert got.value.raw == b"two" and got.writer == "me"
    past = kv.Get(kv_pb2.GetRequest(collection="c", key=b"k", at=types_pb2.At(version=first))).record
    assert past.value.raw == b"one" and past.version == first
    info = refused(grpc.StatusCode.NOT_FOUND, lambda: kv.Get(kv_pb2.GetRequest(collection="c", key=b"none")))
    assert info["ErrorInfo"].reason == "NOT_FOUND" and info["ErrorInfo"].domain == "varve"
    info = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: kv.Get(kv_pb2.GetRequest(collection="c")))
    assert info["BadRequest"].field_violations[0].field == "key"
    info = refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: kv.CompareAndSet(
        kv_pb2.CompareAndSetRequest(collection="c", key=b"k", value=raw(b"three"), expected=first)))
    assert info["ErrorInfo"].metadata["present_version"] == "%016x" % got.version.hlc
    assert info["PreconditionFailure"].violations[0].type == "VERSION"
    big = bytes(range(256)) * 8000  # 2 MB, over many frames, and deflated
    kv.Put(kv_pb2.PutRequest(collection="c", key=b"big", value=raw(big)), compression=grpc.Compression.Gzip)
    assert kv.Get(kv_pb2.GetRequest(collection="c", key=b"big")).record.value.raw == big


def batches_and_scans():
    operation = kv_pb2.BatchWriteRequest.Operation
    kv.BatchWrite(kv_pb2.BatchWriteRequest(
        operations=[operation(collection="s", key=b"%05d" % i, put=raw(b"v" * 100)) for i in range(5000)]))
    rows, token = [], ""
    for message in kv.Scan(kv_pb2.ScanRequest(collection="s")):
        rows += [r.key for r in message.records]
        token = token or message.resume_token
    assert rows == [b"%05d" % i for i in range(5000)]
    rest = [r.key for m in kv.Scan(kv_pb2.ScanRequest(collection="s", resume_token=token)) for r in m.records]
    assert rest and rest == rows[-len(rest):]
    key = kv_pb2.BatchGetRequest.Key
    got = kv.BatchGet(kv_pb2.BatchGetRequest(keys=[key(collection="s", key=k) for k in (b"00007", b"x")])).results
    assert got[0].record.value.raw == b"v" * 100 and not got[1].HasField("record")
    scan = kv.Scan(kv_pb2.ScanRequest(collection="s", page_rows=1))  # left in the middle
    next(scan)
    scan.cancel()


def watching():
    watch = changes.Watch(changes_pb2.WatchRequest(collection="w", values=True))
    token = next(watch).resume_token

    def write():
        for i in range(100):
            kv.Put(kv_pb2.PutRequest(collection="w", key=b"%d" % i, value=raw(b"v%d" % i)))
    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    for message in watch:
        for change in message.changes:
            seen.append((change.record.key, change.record.value.raw))
            if len(seen) == 50:
                token = change.resume_token
        if len(seen) >= 100:
            break
    writer.join()
    assert seen == [(b"%d" % i, b"v%d" % i) for i in range(100)], seen
    watch.cancel()
    again = [c for m in changes.Watch(changes_pb2.WatchRequest(collection="w", resume_token=token, until_now=True))
             for c in m.changes]
    assert len(again) == 50
    late = changes.Watch(changes_pb2.WatchRequest(), timeout=0.5)
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: [None for _ in late])


def care():
    assert "c" in [c.name for c in admin.ListCollections(admin_pb2.ListCollectionsRequest()).collections]
    *_, last = admin.Verify(admin_pb2.VerifyRequest())
    assert last.WhichOneof("event") == "result" and last.result.findings == 0
    assert admin.GetStats(admin_pb2.GetStatsRequest()).stats.writes > 5000


values()
batches_and_scans()
watching()
care()
print("ok")
