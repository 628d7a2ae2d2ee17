"""`varve serve` as a process: starting, settings, signals, the service manager, TLS, stopping, kill -9."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest

from server_case import Server, ServerCase, VARVE, clean_env


class Process(ServerCase):
    def test_writes_outlive_a_stop_and_a_kill(self):
        s = self.serve()
        self.assertEqual(s.put("a", {"n": 1})[0], 200)
        self.assertEqual(s.stop(), 0)
        s.line("stopped")
        s = self.serve()
        self.assertEqual(json.loads(s.ask("GET", "/v1/t/a")[1]), {"n": 1})
        self.assertEqual(s.put("b", {"n": 2})[0], 200)
        s.stop(signal.SIGKILL)
        s = self.serve()
        self.assertEqual(json.loads(s.ask("GET", "/v1/t/b")[1]), {"n": 2})
        self.assertEqual(s.ask("GET", "/readyz")[0], 200)
        self.assertEqual(s.stop(signal.SIGINT), 0)

    def test_one_process_owns_the_folder(self):
        self.serve()
        code, text = self.fails("serve", "--data", self.data, "--listen", "127.0.0.1:0")
        self.assertEqual(code, 3)
        self.assertIn("open in another process", text)

    def test_address_in_use(self):
        s = self.serve()
        code, text = self.fails("serve", "--data", self.data + "2", "--listen", f"127.0.0.1:{s.port}")
        self.assertIn(str(s.port), text)
        self.assertIn("in use", text)

    def test_refuses_to_be_reached_unsafely(self):
        code, text = self.fails("serve", "--data", self.data, "--listen", "0.0.0.0:0")
        self.assertIn("--insecure", text)
        self.assertFalse(os.path.exists(self.data))
        s = self.serve("--listen", "0.0.0.0:0", "--insecure")
        s.line("insecure")

    def test_settings(self):
        file = os.path.join(self.dir, "varve.yaml")
        with open(file, "w") as f:
            f.write("listen: 127.0.0.1:0\nlog:\n  slow: 20ms\n")
        done = subprocess.run([VARVE, "config", "check", "--config", file], capture_output=True, text=True,
                              env=clean_env())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = subprocess.run([VARVE, "config", "print", "--drain", "3s"], capture_output=True, text=True,
                              env=clean_env(VARVE_CONFIG=file, VARVE_RUN_WORKERS="7"))
        self.assertIn('listen: "127.0.0.1:0"  # file\n', done.stdout)
        self.assertIn("drain: 3s  # flag\n", done.stdout)
        self.assertIn("  workers: 7  # environment\n", done.stdout)
        with open(file, "w") as f:
            f.write("lisen: 127.0.0.1:0\n")
        code, text = self.fails("config", "check", "--config", file)
        self.assertEqual(code, 2)
        self.assertIn("varve.yaml:1:1: there is no setting lisen; is listen meant?", text)
        done = subprocess.run([VARVE, "serve", "--help"], capture_output=True, text=True, env=clean_env())
        self.assertEqual(done.returncode, 0)
        self.assertIn("--tls-cert TEXT", done.stdout)

    def test_reload(self):
        file = os.path.join(self.dir, "varve.yaml")
        with open(file, "w") as f:
            f.write("listen: 127.0.0.1:0\n")
        s = self.serve("--listen", "127.0.0.1:0", "--config", file)
        self.assertEqual(s.put("a", {"n": 1})[0], 200)
        with open(file, "w") as f:
            f.write("log: {access: true}\nrun: {workers: 9}\n")
        s.process.send_signal(signal.SIGHUP)
        s.line("settings and certificates were reloaded")
        self.assertEqual(s.line("settings that have changed need a restart")["settings"], "run.workers")
        s.ask("GET", "/v1/t/a", headers={"X-Request-Id": "my-own",
              "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
        line = s.line("request")
        self.assertEqual((line["request_id"], line["method"], line["path"], line["status"]),
                         ("my-own", "GET", "/v1/t/a", 200))
        self.assertEqual(line["trace"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        with open(file, "w") as f:
            f.write("log: {access: maybe}\n")
        s.process.send_signal(signal.SIGHUP)
        self.assertIn("neither true nor false", s.line("reloading failed")["because"])
        self.assertEqual(s.ask("GET", "/v1/t/a")[0], 200)

    def test_service_manager_is_told(self):
        path = os.path.join(self.dir, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
            n.bind(path)
            n.settimeout(30)
            s = self.serve(env={"NOTIFY_SOCKET": path})
            self.assertEqual(n.recv(100), b"READY=1")
            s.process.send_signal(signal.SIGHUP)
            self.assertTrue(n.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
            self.assertEqual(n.recv(100), b"READY=1")
            s.process.send_signal(signal.SIGTERM)
            self.assertEqual(n.recv(100), b"STOPPING=1")
            self.assertEqual(s.process.wait(60), 0)

    def certificate(self, name):
        key, cert = (os.path.join(self.dir, f"{name}.{x}") for x in ("key", "crt"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cert], check=True, capture_output=True)
        return key, cert

    @unittest.skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls_and_new_certificates(self):
        key, cert = self.certificate("first")
        file = os.path.join(self.dir, "varve.yaml")
        with open(file, "w") as f:
            f.write("log: {access: false}\n")
        s = self.serve("--tls-cert", cert, "--tls-key", key, "--config", file)

        def dial(ca, alpn=("http/1.1",)):
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(list(alpn))
            return context.wrap_socket(socket.create_connection(("127.0.0.1", s.port), timeout=30),
                                       server_hostname="127.0.0.1")

        def ask(t):
            t.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while b"\r\n\r\n" not in got:
                more = t.recv(1000)
                self.assertTrue(more)
                got += more
            return got

        old = dial(cert)
        self.assertIn(old.version(), ("TLSv1.2", "TLSv1.3"))
        self.assertIn(b" 200 ", ask(old).split(b"\r\n")[0])
        with dial(cert, ("h2", "http/1.1")) as t:
            self.assertEqual(t.selected_alpn_protocol(), "h2")
        new_key, new_cert = self.certificate("second")
        shutil.copy(new_key, key)
        old_cert = os.path.join(self.dir, "old.crt")
        shutil.copy(cert, old_cert)
        shutil.copy(new_cert, cert)
        s.process.send_signal(signal.SIGHUP)
        s.line("settings and certificates were reloaded")
        with self.assertRaises(ssl.SSLError):
            dial(old_cert)
        with dial(new_cert) as t:
            self.assertIn(b" 200 ", ask(t).split(b"\r\n")[0])
        self.assertIn(b" 200 ", ask(old).split(b"\r\n")[0])  # connections that were there go on
        old.close()
        # One that is bad holds back all that came with it.
        with open(cert, "w") as f:
            f.write("nonsense")
        with open(file, "w") as f:
            f.write("log: {access: true}\n")
        s.process.send_signal(signal.SIGHUP)
        self.assertIn("no certificate in it", s.line("reloading failed")["because"])
        with dial(new_cert) as t:
            self.assertIn(b" 200 ", ask(t).split(b"\r\n")[0])
        self.assertEqual(s.stop(), 0)
        self.assertFalse([x for x in s.lines if x["msg"] == "request"])

    def test_half_a_head_is_answered(self):
        s = self.serve("--timeout-head", "500ms")
        with socket.create_connection(("127.0.0.1", s.port), timeout=30) as c:
            c.sendall(b"GET /livez HT")
            self.assertIn(b"HTTP/1.1 408 ", c.recv(1000))

    def test_stop_lets_requests_finish(self):
        s = self.serve()
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        c.putrequest("PUT", "/v1/t/late")
        c.putheader("content-type", "application/json")
        c.putheader("content-length", "2")
        c.putheader("expect", "100-continue")
        c.endheaders()
        self.assertIn(b"100", c.sock.recv(100))  # it is at work
        s.process.send_signal(signal.SIGTERM)
        s.line("stopping")
        c.send(b"{}")
        self.assertEqual(c.getresponse().status, 200)
        c.close()
        self.assertEqual(s.process.wait(60), 0)
        s = self.serve()
        self.assertEqual(s.ask("GET", "/v1/t/late")[0], 200)

    def test_stop_ends_streams(self):
        s = self.serve()
        s.put("a", {"n": 1})
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
        c.request("GET", "/v1/changes", headers={"accept": "text/event-stream"})
        answer = c.getresponse()
        self.assertEqual(answer.status, 200)
        began = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.assertLess(time.monotonic() - began, 25)  # not the 30 s of the setting drain
        answer.read()  # ends well: the last chunk has come
        c.close()

    @unittest.skipUnless(shutil.which("cc"), "needs a C compiler")
    def test_failed_sync_ends_the_process(self):
        shim, fail = os.path.join(self.dir, "shim"), os.path.join(self.dir, "fail")
        with open(shim + ".c", "w") as f:
            f.write("""#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (access(getenv("FAIL"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}
""")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim + ".so", shim + ".c", "-ldl"], check=True)
        s = self.serve(env={"LD_PRELOAD": shim + ".so", "FAIL": fail})
        self.assertEqual(s.put("before", {"n": 1})[0], 200)
        open(fail, "w").close()
        self.assertEqual(s.put("after", {"n": 2})[0], 503)
        self.assertEqual(s.process.wait(30), 5)
        s = self.serve()
        self.assertEqual(s.ask("GET", "/v1/t/before")[0], 200)
        self.assertEqual(s.put("more", {"n": 3})[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
