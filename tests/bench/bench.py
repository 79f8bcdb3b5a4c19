"""Sidecloak beside nginx, interleaved, as ratios. Run by run.sh; what is measured and how stands in README.md."""

import argparse
import contextlib
import json
import os
import pwd
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CONNECTIONS = 64
MANY = 512
FIELDS = ["ssn", "card", "email", "phone", "dob"]
DOCUMENT = {
    "id": 12345678901234567,
    "name": "Ada Example",
    "ssn": "123-45-6789",
    "card": "4111111111111111",
    "email": "ada@example.org",
    "phone": "+1 555 0100 200",
    "dob": "1990-02-03",
    "address": {"street": "1 Example Street", "city": "Exampleton", "zip": "01234"},
    "tags": ["a", "b", "c"],
    "note": "x" * 200,
}
PLAIN = json.dumps({"items": [{"id": n, "name": f"item {n}", "price": n * 1.5, "tags": ["a", "b"]} for n in range(16)]})

SIDECLOAK = """
listeners: [{{ bind: "127.0.0.1:{port}", upstream: "http://127.0.0.1:{upstream}" }}]
workers: 1
upstream_limits: {{ connections: 512, idle: 512, idle_timeout: 4s }}
rules: {rules}
keyring: {{ store: "sqlite:{dir}/keyring.db", master_key: "file:{dir}/master.key" }}
probe: {{ bind: "127.0.0.1:{probe}" }}
drain: {{ delay: 0s, deadline: 2s }}
telemetry: {{ log: {log} }}
"""


class Failed(Exception):
    """What stops the run."""


class Process:
    """A process of ours, and its children."""

    def __init__(self, name, argv, port, cpus, log):
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}"
        self.began = time.perf_counter()
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False)
        if cpus:
            os.sched_setaffinity(self.child.pid, cpus)

    def first_answer(self, port=None, path="/start", limit=10.0):
        """Seconds from exec to the first byte of a successful answer."""
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
        while time.perf_counter() - self.began < limit:
            if self.child.poll() is not None:
                raise Failed(f"{self.name} ended with {self.child.returncode}; see its log")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port or self.port), 1) as s:
                s.sendall(request)
                if s.recv(12).startswith(b"HTTP/1.1 200"):
                    return time.perf_counter() - self.began
            time.sleep(0.0005)
        raise Failed(f"{self.name} gave no answer within {limit} s")

    def pids(self):
        pid = self.child.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu(self):
        """CPU seconds so far, user and system."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self):
        """Resident MiB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * PAGE / 2**20

    def threads_to(self, cpus):
        """Threads and children that began before the affinity was set."""
        if not cpus:
            return
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task.name), cpus)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Bench:
    def __init__(self, options, directory, stack):
        self.options, self.dir, self.stack = options, Path(directory), stack
        self.binary = str(Path(options.binary).resolve())
        cpus = sorted(os.sched_getaffinity(0))
        # The proxy has a CPU to itself, so that it and not the load is what limits the rate.
        self.proxy_cpus, self.load_cpus = ({cpus[0]}, set(cpus[1:])) if len(cpus) > 1 else (None, None)
        self.upstream_port = free_port()
        self.document = self.dir / "document.json"
        self.document.write_text(json.dumps(DOCUMENT))

    # What is measured.

    def run(self):
        self.keys()
        self.upstream()
        starts, idle = self.cold_start()
        proxies = self.proxies()
        self.check(proxies)
        runs, busy = self.rounds(proxies)
        return self.results(starts, idle, runs, busy, self.pairs())

    def cold_start(self):
        """Times to the first byte, and idle memory a moment later."""
        starts, idle = {"nginx": [], "sidecloak": []}, {"nginx": [], "sidecloak": []}
        for turn in range(self.options.starts):
            for kind in alternate(["nginx", "sidecloak"], turn):
                process = self.start(kind, "off")
                try:
                    starts[kind].append(process.first_answer())
                    if turn < 5:
                        time.sleep(0.5)
                        idle[kind].append(process.memory())
                finally:
                    process.stop()
        return starts, idle

    def proxies(self):
        """Both, without and with an access log."""
        made = {}
        for log in ["off", "on"]:
            for kind in ["nginx", "sidecloak"]:
                process = self.start(kind, log)
                self.stack.callback(process.stop)
                process.first_answer()
                process.threads_to(self.proxy_cpus)
                made[kind, log] = process
        return made

    def check(self, proxies):
        """That both do what the figures say they do."""
        for (kind, log), process in proxies.items():
            if get(process, "/plain") != PLAIN.encode():
                raise Failed(f"{kind} (log {log}) changed a body that no rule is about")
            answer = json.loads(get(process, "/sealed", self.document.read_bytes()))
            opened = [answer[name] == DOCUMENT[name] for name in FIELDS]
            if opened != [kind == "sidecloak"] * len(FIELDS):
                raise Failed(f"{kind} (log {log}): opened fields: {opened}")

    def rounds(self, proxies):
        loads = {"plain": ("off", "/plain", False), "five": ("off", "/sealed", True), "logged": ("on", "/plain", False)}
        runs = {name: {"nginx": [], "sidecloak": []} for name in loads}
        busy = {"nginx": [], "sidecloak": []}
        for turn in range(self.options.rounds):
            for name, (log, path, posts) in loads.items():
                for kind in alternate(["nginx", "sidecloak"], turn):
                    process = proxies[kind, log]
                    if turn == 0:
                        self.load(process, path, posts, 1)
                    run, memory = self.load(process, path, posts, self.options.seconds)
                    runs[name][kind].append(run)
                    if name == "plain":
                        busy[kind].append(memory)
        sealed = fields(proxies["sidecloak", "off"].probe)
        answered = sum(run["requests"] for run in runs["five"]["sidecloak"])
        for event in ["sealed", "opened"]:
            if sealed.get(event, 0) < answered * len(FIELDS):
                raise Failed(f"{sealed.get(event, 0)} fields {event} in {answered} requests of five")
        return runs, busy

    def pairs(self):
        """KiB of each connection pair beyond the first 64, in processes that have served none before."""
        found = {"nginx": [], "sidecloak": []}
        for turn in range(3):
            for kind in alternate(["nginx", "sidecloak"], turn):
                process = self.start(kind, "off")
                try:
                    process.first_answer()
                    few = load(process, "/plain", None, CONNECTIONS, 2, self.load_cpus)[1]
                    many = load(process, "/plain", None, MANY, 2, self.load_cpus)[1]
                finally:
                    process.stop()
                found[kind].append((many - few) * 1024 / (MANY - CONNECTIONS))
        return found

    def load(self, process, path, posts, seconds):
        return load(process, path, self.document if posts else None, CONNECTIONS, seconds, self.load_cpus)

    # What it takes.

    def keys(self):
        where = ["--keyring", f"{self.dir}/keyring.db", "--master-key-file", f"{self.dir}/master.key", "--i-know"]
        # The first start makes the keyring; what is measured later is a process that finds one.
        first = self.start("sidecloak", "off", "--dev")
        try:
            first.first_answer(first.probe, "/readyz")
        finally:
            first.stop()
        rules = ["--rules", str(HERE / "rules.yaml"), "--path", "/sealed"]
        self.sealed = call([self.binary, "seal", *where, *rules, str(self.document)]).strip()
        values = json.loads(self.sealed)
        if not all(values[name].startswith("sc1.") for name in FIELDS):
            raise Failed("`sidecloak seal` did not seal the five fields")

    def upstream(self):
        config = self.template("upstream.conf", UPSTREAM=self.upstream_port, SEALED=self.sealed, PLAIN=PLAIN)
        process = Process("upstream", self.nginx(config), self.upstream_port, self.load_cpus, self.log("upstream"))
        self.stack.callback(process.stop)
        process.first_answer()

    def start(self, kind, log, *more):
        port = free_port()
        if kind == "nginx":
            access = f"{self.dir}/access.log" if log == "on" else "off"
            user = pwd.getpwuid(os.getuid()).pw_name
            config = self.template("proxy.conf", UPSTREAM=self.upstream_port, PORT=port, LOG=access, USER=user)
            return Process("nginx", self.nginx(config), port, self.proxy_cpus, self.log("nginx"))
        probe = free_port()
        config = self.dir / f"sidecloak-{log}.yaml"
        config.write_text(
            SIDECLOAK.format(
                port=port,
                upstream=self.upstream_port,
                rules=HERE / "rules.yaml",
                dir=self.dir,
                probe=probe,
                log="info" if log == "on" else "warn",
            )
        )
        argv = [self.binary, "run", "--config", str(config), "--i-know", *more]
        process = Process("sidecloak", argv, port, self.proxy_cpus, self.log("sidecloak"))
        process.probe = probe
        return process

    def nginx(self, config):
        return ["nginx", "-p", str(self.dir), "-e", f"{self.dir}/nginx.err", "-c", str(config)]

    def template(self, name, **values):
        text = (HERE / name).read_text().replace("@DIR@", str(self.dir))
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.dir / name
        path.write_text(text)
        return path

    def log(self, name):
        return self.stack.enter_context(open(self.dir / f"{name}.out", "ab"))

    def results(self, starts, idle, runs, busy, pairs):
        def row(what, unit, nginx, sidecloak, target=None, absolute=False):
            # Neighbours in time are compared with each other; the median outlives a round that something disturbed.
            ratio = statistics.median(s / n for n, s in zip(nginx, sidecloak))
            figures = {"nginx": statistics.median(nginx), "sidecloak": statistics.median(sidecloak)}
            spread = [min(s / n for n, s in zip(nginx, sidecloak)), max(s / n for n, s in zip(nginx, sidecloak))]
            row = {"what": what, "unit": unit, **figures, "ratio": ratio, "spread": spread}
            if target:
                row |= {"target": target, "met": (figures["sidecloak"] if absolute else ratio) <= target}
                row["target_of"] = unit if absolute else "ratio"
            return row

        def pick(load, key):
            return ([run[key] for run in runs[load][kind]] for kind in ["nginx", "sidecloak"])

        ms = {kind: [t * 1000 for t in times] for kind, times in starts.items()}
        return [
            row("cold start to the first byte", "ms", ms["nginx"], ms["sidecloak"], 50, True),
            row("resident memory, idle", "MiB", idle["nginx"], idle["sidecloak"], 16, True),
            row(f"resident memory, {CONNECTIONS} connections", "MiB", busy["nginx"], busy["sidecloak"], 24, True),
            row("resident memory, each further pair of connections", "KiB", pairs["nginx"], pairs["sidecloak"], 60, True),
            row("CPU per request, passthrough", "us", *pick("plain", "cpu_us"), 1.25),
            row("CPU per request, passthrough, access log on", "us", *pick("logged", "cpu_us")),
            row("CPU per request, five fields each way", "us", *pick("five", "cpu_us"), 1.9),
            row("requests per second, passthrough", "1/s", *pick("plain", "rate")),
            row("requests per second, five fields each way", "1/s", *pick("five", "rate")),
        ]


def load(process, path, document, connections, seconds, cpus):
    """What so many connections get out of a process; the document is posted, if there is one. Also its memory half-way."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    argv += ["-s", str(HERE / "post.lua")] if document else []
    argv += [process.url + path] + (["--", str(document)] if document else [])
    before, began = process.cpu(), time.perf_counter()
    wrk = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, close_fds=False)
    if cpus:
        os.sched_setaffinity(wrk.pid, cpus)
    time.sleep(seconds / 2)
    memory = process.memory()
    text, _ = wrk.communicate(timeout=seconds + 30)
    took, cpu = time.perf_counter() - began, process.cpu() - before
    done = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if wrk.returncode or not done or not rate or "Non-2xx" in text or int(done[1]) == 0:
        raise Failed(f"{process.name}: wrk says\n{text}")
    requests = int(done[1])
    run = {"requests": requests, "rate": float(rate[1]), "cpu_us": cpu * 1e6 / requests, "share": cpu / took}
    return run, memory


def alternate(kinds, turn):
    """Neither is always the first."""
    return kinds if turn % 2 == 0 else kinds[::-1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(argv[:3])}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def get(process, path, body=None, port=None):
    with socket.create_connection(("127.0.0.1", port or process.port), 5) as s:
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.0\r\nHost: bench\r\nContent-Type: application/json\r\n"
        s.sendall((head + f"Content-Length: {len(body or b'')}\r\n\r\n").encode() + (body or b""))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise Failed(f"{path}: {head.decode(errors='replace')}")
    return text


def fields(probe):
    """Fields sealed and opened, as the process counts them."""
    text = get(None, "/metrics", port=probe).decode()
    found = re.findall(r'sidecloak_fields_total\{[^}]*event="(\w+)"\} (\d+)', text)
    return {event: sum(int(n) for e, n in found if e == event) for event, _ in found}


def version(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def table(results):
    lines = [f"{'':<56}{'nginx':>10}{'sidecloak':>11}{'ratio':>8}  {'spread':<13}target"]
    for r in results["rows"]:
        figures = "".join(f"{r[kind]:>{width}.{0 if r[kind] >= 1000 else 1}f}" for kind, width in [("nginx", 10), ("sidecloak", 11)])
        target = ""
        if "target" in r:
            unit = "x" if r["target_of"] == "ratio" else f" {r['target_of']}"
            target = f"<= {r['target']}{unit} {'met' if r['met'] else 'MISSED'}"
        low, high = r["spread"]
        lines.append(f"{r['what'] + ', ' + r['unit']:<56}{figures}{r['ratio']:>8.2f}  {f'{low:.2f}-{high:.2f}':<13}{target}".rstrip())
    return "\n".join([results["versions"]["nginx"] + " beside " + results["versions"]["sidecloak"], *lines])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="of all loads, interleaved (15)")
    parser.add_argument("--seconds", type=int, default=1, help="of each load (1)")
    parser.add_argument("--starts", type=int, default=20, help="cold starts of each (20)")
    parser.add_argument("--binary", default=str(ROOT / "target/release/sidecloak"), help="measure this one, build nothing")
    options = parser.parse_args()
    bounds = {"rounds": (1, 30), "seconds": (1, 5), "starts": (5, 100)}
    for name, (low, high) in bounds.items():
        if not low <= getattr(options, name) <= high:
            parser.error(f"--{name} is between {low} and {high}")
    if options.rounds * options.seconds > 30:
        parser.error("--rounds times --seconds is at most 30, so that a run takes under five minutes")
    try:
        # The stack unwinds first: processes end before their folder goes.
        with tempfile.TemporaryDirectory(prefix="sidecloak-bench-") as directory, contextlib.ExitStack() as stack:
            rows = Bench(options, directory, stack).run()
    except Failed as why:
        sys.exit(f"bench: {why}")
    versions = {"nginx": version(["nginx", "-v"]), "sidecloak": version([options.binary, "--version"])}
    results = {"versions": versions, "cpus": len(os.sched_getaffinity(0)), "rows": rows}
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
