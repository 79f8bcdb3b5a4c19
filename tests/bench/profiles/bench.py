#!/usr/bin/env python3
"""The measuring behind profiles.sh."""
import argparse
import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from statistics import median

FIELDS = ["ssn", "card", "email", "phone", "dob"]
DOCUMENT = {
    "id": 7, "ssn": "123-45-6789", "card": "4111111111111111", "email": "ada@example.org", "phone": "+1 555 0100 200",
    "dob": "1990-02-03", "note": "x" * 200,
}
BODY = json.dumps(DOCUMENT, separators=(",", ":"))
# Path, profile or partition, what it is.
KINDS = [
    ("local", "customers", "local keys"),
    ("envelope", "envelope", "Crittora, envelope"),
    ("message", "message", "NAVER, message"),
    ("alone", "alone", "NAVER, field"),
    ("letters", "letters", "Crittora, field"),
]
OTHERS = 4


class Ended:
    """A process that is ended by its own handle, whatever happens."""

    def __init__(self, command, **more):
        self.process = subprocess.Popen(command, **more)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def call(url, body=None, headers=None):
    """Status and body of an answer, whatever it is."""
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"} | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def key(at):
    """Has the API make a key."""
    target, stamp = "/kms/v1/keys", str(int(time.time() * 1000))
    digest = hmac.new(at["secret"].encode(), f"POST {target}\n{stamp}\n{at['access']}".encode(), hashlib.sha256).digest()
    headers = {
        "x-ncp-apigw-timestamp": stamp, "x-ncp-iam-access-key": at["access"],
        "x-ncp-apigw-signature-v2": base64.b64encode(digest).decode(),
    }
    asked = {"keyName": "bench", "keyType": "AES256", "isAutoRotation": False, "protectionType": "BASIC"}
    status, answer = call(at["url"] + target, json.dumps(asked), headers)
    if status != 200:
        sys.exit(f"the API makes no key: {answer}")
    return json.loads(answer)["data"]["keyTag"]


class Bench:
    def __init__(self, options, folder, running):
        self.options, self.folder = options, folder
        binary, authority = (str(pathlib.Path(path).resolve()) for path in [options.binary, options.authority])
        (folder / "vendor").mkdir()
        self.api = Ended([authority, str(folder / "vendor")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.callback(self.api.end)
        at = json.loads(self.api.process.stdout.readline())
        self.front, upstream = free_port(), free_port()
        self.configure(at, upstream)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECLOAK_")}
        own = {"cwd": folder, "env": environment | {"SIDECLOAK_I_KNOW": "1"}, "stdin": subprocess.DEVNULL}
        for command in [["keys", "init", "--partition", "customers"]] + [
            ["profiles", "init", name] for _, name, _ in KINDS if name != "customers"
        ]:
            subprocess.run([binary, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **own)
        log = open(folder / "sidecloak.log", "wb")
        proxy = Ended([binary, "run", "--log", "warn"], stdout=log, stderr=log, **own)
        running.callback(proxy.end)
        tokens = self.tokens(upstream)
        self.application(tokens, upstream, running)
        self.check()

    def configure(self, at, upstream):
        headers = at["crittora"]["headers"]
        files = dict(headers) | {"naver_access": at["ncloud"]["access"], "naver_secret": at["ncloud"]["secret"]}
        for name, text in files.items():
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o600)
        tag = key(at["ncloud"])
        crittora = f"provider: crittora, endpoint: '{at['crittora']['url']}/v1', " + ", ".join(
            f"{name}: 'file:{name}'" for name in headers
        )
        naver = (
            f"provider: ncloud-kms, endpoint: '{at['ncloud']['url']}', key_tag: {tag}, "
            "access_key: 'file:naver_access', secret_key: 'file:naver_secret'"
        )
        (self.folder / "sidecloak.yaml").write_text(f"""listeners: [{{ bind: "127.0.0.1:{self.front}", upstream: "http://127.0.0.1:{upstream}" }}]
workers: 1
upstream_limits: {{ connections: 64, idle: 64, idle_timeout: 4s }}
rules: rules.yaml
drain: {{ delay: 0s, deadline: 2s }}
profiles:
  envelope: {{ {crittora} }}
  message: {{ {naver}, granularity: message }}
  alone: {{ {naver}, granularity: field }}
  letters: {{ {crittora}, granularity: field }}
""")
        fields = json.dumps([f"$.{field}" for field in FIELDS])
        rules = [
            f"  - {{ name: {path}, match: {{ path: /{path} }}, protect: [{{ fields: {fields}, key: {name} }}] }}"
            for path, name, _ in KINDS
        ]
        (self.folder / "rules.yaml").write_text("rules:\n" + "\n".join(rules) + "\n")

    def tokens(self, upstream):
        """What an application is sent on each path."""
        seen = {}

        class Application(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                seen[self.path[1:]] = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.send_response(204)
                # Or the proxy would keep asking this one.
                self.send_header("Connection", "close")
                self.end_headers()

            def log_message(self, *_):
                pass

        http.server.ThreadingHTTPServer.daemon_threads = True
        server = http.server.ThreadingHTTPServer(("127.0.0.1", upstream), Application)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        until = time.monotonic() + 20
        for path, _, what in KINDS:
            while True:
                with contextlib.suppress(OSError):
                    if call(self.url(path), BODY)[0] == 204:
                        break
                if time.monotonic() > until:
                    sys.exit(f"{what}: nothing is sealed:\n{(self.folder / 'sidecloak.log').read_text()}")
                time.sleep(0.1)
        server.shutdown()
        server.server_close()
        for path, body in seen.items():
            if any(value in body for value in [DOCUMENT[field] for field in FIELDS]) or body.count("sc1.") != 5:
                sys.exit(f"{path}: not all fields were sealed")
        return seen

    def application(self, tokens, port, running):
        places = "\n".join(f"location /{path} {{ return 200 '{body}'; }}" for path, body in tokens.items())
        (self.folder / "nginx.conf").write_text(f"""daemon off; master_process off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_buffer_size 64k; client_body_temp_path {self.folder}/n0;
  proxy_temp_path {self.folder}/n1; fastcgi_temp_path {self.folder}/n2; uwsgi_temp_path {self.folder}/n3; scgi_temp_path {self.folder}/n4;
  server {{ listen 127.0.0.1:{port} backlog=1024; default_type application/json; {places} }}
}}
""")
        log = open(self.folder / "nginx.out", "wb")
        running.callback(Ended(["nginx", "-c", str(self.folder / "nginx.conf")], stdout=log, stderr=log).end)

    def check(self):
        until = time.monotonic() + 20
        for path, _, what in KINDS:
            while call(self.url(path), BODY) != (200, BODY):
                if time.monotonic() > until:
                    sys.exit(f"{what}: fields do not come back: {call(self.url(path), BODY)}")
                time.sleep(0.1)

    def url(self, path):
        return f"http://127.0.0.1:{self.front}/{path}"

    def load(self, path, connections, seconds=None):
        """Requests per second, and the median and 99th percentile of their latency in milliseconds."""
        script = self.folder / "load.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{BODY}]==]\nwrk.headers['Content-Type'] = 'application/json'\n")
        seconds = seconds or self.options.seconds
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), self.url(path)]
        out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"{path}: not every request was answered well:\n{out}")
        return float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]), at(out, "50"), at(out, "99")

    @contextlib.contextmanager
    def others(self):
        """Callers of a rule that asks the API each time, whatever they are answered."""
        over, answers = threading.Event(), []

        def calling():
            while not over.wait(0.005):
                with contextlib.suppress(OSError):
                    answers.append(call(self.url("alone"), BODY)[0])

        threads = [threading.Thread(target=calling) for _ in range(OTHERS)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            over.set()
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def hanging(self):
        """Connections are taken, and nobody answers."""
        self.api.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.api.process.send_signal(signal.SIGCONT)


def at(out, percentile):
    number, unit = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s)\s*$", out, re.M).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def measure(bench, options):
    found = {path: [] for path, _, _ in KINDS}
    for path in found:
        bench.load(path, 4, 1)
    for number in range(options.rounds):
        order = list(found)
        for path in order[number % len(order):] + order[: number % len(order)]:
            found[path].append((bench.load(path, 1)[1], bench.load(path, 16)[0]))
    return found


def outage(bench, options):
    """p99 of the rule of local keys: of an API that answers, and of one that hangs, in turns."""
    found = []
    for number in range(options.rounds):
        pair = {}
        for hangs in [number % 2 == 0, number % 2 == 1]:
            with bench.hanging() if hangs else contextlib.nullcontext():
                with bench.others() as answers:
                    # The breaker opens meanwhile, and probes.
                    time.sleep(1)
                    pair[hangs] = bench.load("local", 4)[1:]
            good = sum(status == 200 for status in answers)
            if hangs and good:
                sys.exit("an API that hangs answered")
            time.sleep(6 if hangs else 0)
        found.append((pair[False], pair[True]))
    return found


def main():
    parser = argparse.ArgumentParser(description="Managed APIs as profiles beside local keys")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--seconds", type=int, default=2, choices=range(1, 11), metavar="1..10")
    parser.add_argument("--binary", default="target/release/sidecloak")
    parser.add_argument("--authority", default="target/release/examples/bench-authority")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        bench = Bench(options, pathlib.Path(folder), running)
        report(measure(bench, options), outage(bench, options), options.json)


def report(found, pairs, as_json):
    local = found["local"]
    rows = []
    for path, _, what in KINDS:
        # Neighbours in time, so that a busy moment hurts both.
        slower = [own[0] / other[0] for own, other in zip(found[path], local)]
        rates = [own[1] / other[1] for own, other in zip(found[path], local)]
        rows.append({
            "kind": what, "latency_ms": median(own[0] for own in found[path]), "latency_ratio": median(slower),
            "requests_per_second": median(own[1] for own in found[path]), "rate_ratio": median(rates),
            "rate_least": min(rates), "rate_most": max(rates),
        })
    ratios = [hanging[1] / well[1] for well, hanging in pairs]
    away = {
        "p50_ms": median(well[0] for well, _ in pairs), "p50_hanging_ms": median(hanging[0] for _, hanging in pairs),
        "p99_ms": median(well[1] for well, _ in pairs), "p99_hanging_ms": median(hanging[1] for _, hanging in pairs),
        "p99_ratio": median(ratios), "least": min(ratios), "most": max(ratios),
    }
    if as_json:
        print(json.dumps({"kinds": rows, "outage": away}))
        return
    print(f"{'five fields each way':24}{'median ms, 1 conn.':>20}{'ratio':>8}{'requests/s, 16 conn.':>24}{'ratio':>8}  spread")
    for row in rows:
        spread = f"{row['rate_least']:.2f}–{row['rate_most']:.2f}"
        print(
            f"{row['kind']:24}{row['latency_ms']:>20.2f}{row['latency_ratio']:>8.2f}{row['requests_per_second']:>24,.0f}"
            f"{row['rate_ratio']:>8.2f}  {spread}"
        )
    print(
        f"\nlocal keys, p99 in ms while others use an API that answers: {away['p99_ms']:.2f}; that hangs: {away['p99_hanging_ms']:.2f}; "
        f"ratio {away['p99_ratio']:.2f} ({away['least']:.2f}–{away['most']:.2f}); p50 {away['p50_ms']:.2f} and {away['p50_hanging_ms']:.2f}"
    )


if __name__ == "__main__":
    main()
