"""A long body each way through sidecloak, and its resident memory meanwhile. Run by memory.sh; what is measured stands in README.md."""

import argparse
import multiprocessing
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PIECE = 64 * 1024
PLAIN = b"123-45-6789"
CONFIG = """
listeners: [{{ bind: "127.0.0.1:{port}", upstream: "http://127.0.0.1:{upstream}" }}]
rules: {dir}/rules.yaml
keyring: {{ store: "sqlite:{dir}/keyring.db", master_key: "file:{dir}/master.key" }}
drain: {{ delay: 0s, deadline: 2s }}
telemetry: {{ log: warn }}
"""
RULES = """
rules:
  - name: memory
    match: { path: /records }
    protect: [{ fields: ["$[*].ssn", "$[*].cards[*].pan", "$..email", "$[*].phone", "$[*].dob"] }]
"""
RECORD = (
    b'{"id":12345678901234567,"name":"Ada Example","ssn":"%s","cards":[{"pan":"%s","n":1}],"email":"%s","phone":"%s","dob":"%s",'
    b'"address":{"street":"1 Example Street","city":"Exampleton"},"price":1.10,"note":"' + b"x" * 700 + b'"}'
)


def pieces(record, size):
    """One array of so many bytes or a little more, in pieces."""
    many = b",".join([record] * max(1, PIECE // len(record)))
    yield b"[" + many
    sent = len(many) + 1
    while sent < size:
        yield b"," + many
        sent += len(many) + 1
    yield b"]"


def send(connection, body):
    for piece in body:
        connection.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        yield len(piece)
    connection.sendall(b"0\r\n\r\n")


def receive(stream, wanted, seen):
    """Reads a chunked body to its end; counts its bytes and how often `wanted` stands in it."""
    tail = b""
    while size := int(stream.readline().split(b";")[0], 16):
        data = stream.read(size)
        stream.readline()
        seen["first"] = seen.get("first") or time.monotonic()
        seen["bytes"] = seen.get("bytes", 0) + size
        both = tail + data
        seen["wanted"] = seen.get("wanted", 0) + both.count(wanted)
        tail = both[-(len(wanted) - 1) :]
    stream.readline()


def head(stream):
    first = stream.readline()
    while stream.readline() not in (b"\r\n", b""):
        pass
    return first


def upstream(listener, size, results):
    """Takes what is posted, tells what came; answers a GET with a long body of the record posted last."""
    record = b""
    while True:
        connection, _ = listener.accept()
        stream = connection.makefile("rb")
        while first := head_of(stream):
            line, fields = first
            if line.startswith(b"POST"):
                length = re.search(rb"(?i)content-length: *(\d+)", fields)
                if length:
                    record = stream.read(int(length[1]))[1:-1]
                    results.put({})
                else:
                    seen = {}
                    receive(stream, PLAIN, seen)
                    results.put(seen)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
                for _ in send(connection, pieces(record, size)):
                    pass


def head_of(stream):
    line = stream.readline()
    fields = b""
    while (field := stream.readline()) not in (b"\r\n", b""):
        fields += field
    return (line, fields) if line else None


class Watch(threading.Thread):
    """Resident memory of a process, in KiB, ten times a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.file, self.seen, self.over = Path(f"/proc/{pid}/status"), [], False

    def run(self):
        while not self.over:
            self.seen.append(int(re.search(r"VmRSS:\s+(\d+)", self.file.read_text())[1]))
            time.sleep(0.1)

    def stop(self):
        self.over = True
        self.join()
        quarter = self.seen[len(self.seen) // 4 :]
        return f"{self.seen[0] / 1024:.1f} at first, then {min(quarter) / 1024:.1f} to {max(quarter) / 1024:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/sidecloak")
    parser.add_argument("--megabytes", type=int, default=2048, help="of each body (default 2048, at most 8192)")
    options = parser.parse_args()
    size = min(options.megabytes, 8192) << 20
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        Path(folder, "rules.yaml").write_text(RULES)
        Path(folder, "sidecloak.yaml").write_text(CONFIG.format(port=port, upstream=listener.getsockname()[1], dir=folder))
        results = multiprocessing.Queue()
        behind = multiprocessing.Process(target=upstream, args=(listener, size, results), daemon=True)
        behind.start()
        init = [options.binary, "keys", "init", "--keyring", f"{folder}/keyring.db", "--master-key-file", f"{folder}/master.key", "--i-know"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        proxy = subprocess.Popen([options.binary, "run", "--config", f"{folder}/sidecloak.yaml", "--i-know"])
        try:
            sys.exit(measure(proxy.pid, port, size, results))
        finally:
            proxy.terminate()
            proxy.wait(timeout=10)
            behind.terminate()


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=120)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("memory.py: sidecloak did not start")


def measure(pid, port, size, results):
    plain = RECORD % (PLAIN, b"4111111111111111", b"ada@example.org", b"+1 555 0100 200", b"1990-02-03")
    failed = False
    with connect(port) as connection:
        stream = connection.makefile("rb")
        # One record, sealed, that the upstream keeps for its answers.
        one = b"[" + plain + b"]"
        connection.sendall(b"POST /records HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(one) + one)
        head(stream)
        results.get(timeout=60)

        watch = Watch(pid)
        watch.start()
        began = time.monotonic()
        connection.sendall(b"POST /records HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        sent = sum(send(connection, pieces(plain, size)))
        last = time.monotonic()
        answer = head(stream)
        seen = results.get(timeout=600)
        good = b" 200 " in answer and seen["wanted"] == 0 and seen["bytes"] > sent and seen["first"] < last
        failed |= not good
        print(f"sealed: {sent / 2**20:.0f} MiB in, {seen['bytes'] / 2**20:.0f} MiB out, {sent / 2**20 / (time.monotonic() - began):.0f} MiB/s;")
        print(f"        first bytes out {last - seen['first']:.1f} s before the last came in; resident MiB: {watch.stop()}{'' if good else '; WRONG'}")

        watch = Watch(pid)
        watch.start()
        began = time.monotonic()
        connection.sendall(b"GET /records HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = head(stream)
        opened = {}
        receive(stream, PLAIN, opened)
        good = b" 200 " in answer and opened["wanted"] * len(plain) * 0.9 < opened["bytes"] < opened["wanted"] * len(plain) * 1.1
        failed |= not good
        print(f"opened: {opened['bytes'] / 2**20:.0f} MiB out, {opened['bytes'] / 2**20 / (time.monotonic() - began):.0f} MiB/s;")
        print(f"        {opened['wanted']} records; resident MiB: {watch.stop()}{'' if good else '; WRONG'}")
    return 1 if failed else 0


main()
