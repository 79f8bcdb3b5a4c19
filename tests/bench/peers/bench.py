"""Sidecloak beside plain proxies and beside other ways to do its job. Run by peers.sh; what is measured and how stands in README.md."""

import argparse
import contextlib
import http.client
import json
import os
import pwd
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from bench import ROOT, Failed, Process, alternate, call, free_port, load, version  # noqa: E402

FIELDS = {"ssn", "card", "email", "phone", "dob"}
BODIES = {"small": ("330 B, 3 fields", "small.json"), "large": ("10.7 KB, 200 fields", "list10k.json")}
PLAIN = ["nginx", "haproxy"]
PEERS = ["njs", "lua", "envoy-lua"]
REQUIRED = {"small": 1.2, "large": 10.0}
ENVOY = ROOT / "target/tools/envoy/venv/bin/envoy"

SIDECLOAK = """
listeners: [{{ bind: "127.0.0.1:{port}", upstream: "http://127.0.0.1:{upstream}" }}]
workers: 1
upstream_limits: {{ connections: 64, idle: 64, idle_timeout: 4s }}
rules: {here}/rules.yaml
keyring: {{ store: "sqlite:{dir}/keyring.db", master_key: "file:{dir}/master.key" }}
drain: {{ delay: 0s, deadline: 2s }}
telemetry: {{ log: warn }}
"""


class Bench:
    def __init__(self, options, directory, stack):
        self.options, self.dir, self.stack = options, Path(directory), stack
        self.binary = str(Path(options.binary).resolve())
        cpus = sorted(os.sched_getaffinity(0))
        self.proxy_cpus, self.load_cpus = ({cpus[0]}, set(cpus[1:])) if len(cpus) > 1 else (None, None)
        self.upstream_port = free_port()

    def run(self):
        self.start("upstream", self.nginx("upstream.conf", PORT=self.upstream_port), self.upstream_port, self.load_cpus)
        peers = PEERS if ENVOY.exists() else [name for name in PEERS if name != "envoy-lua"]
        seal = {name: self.proxy(name) for name in [*peers, "sidecloak"]}
        plain = {name: self.proxy(name) for name in PLAIN} | {"sidecloak": seal["sidecloak"]}
        for name, process in seal.items():
            self.check(name, process)
        rows = []
        for connections in self.options.connections:
            for body in BODIES:
                rows.append(self.rounds("sealed", body, connections, seal))
            rows.append(self.rounds("plain", "small", connections, plain))
        return rows

    def rounds(self, what, body, connections, processes):
        """Every one in turn, each round beginning with another."""
        runs = {name: [] for name in processes}
        names = list(processes)
        for turn in range(self.options.rounds):
            for name in alternate(names, turn):
                run, _ = load(
                    processes[name],
                    f"/{what}",
                    HERE / "bodies" / BODIES[body][1],
                    connections,
                    self.options.seconds if turn else 1,
                    self.load_cpus,
                )
                if turn:  # the first warms up
                    runs[name].append(run)
        ours = runs.pop("sidecloak")
        row = {"what": what, "body": body, "connections": connections, "sidecloak": figures(ours), "peers": {}}
        for name, theirs in runs.items():
            times = [o["rate"] / t["rate"] for o, t in zip(ours, theirs)]
            cpu = [o["cpu_us"] / t["cpu_us"] for o, t in zip(ours, theirs)]
            row["peers"][name] = figures(theirs) | {
                "times": statistics.median(times),
                "spread": [min(times), max(times)],
                "cpu": statistics.median(cpu),
            }
        if what == "sealed":
            row["least"] = min(peer["times"] for peer in row["peers"].values())
            # On a busy machine the rate is everybody's; what a request costs is the proxy's own.
            row["least_by_cpu"] = min(1 / peer["cpu"] for peer in row["peers"].values())
            row["required"] = REQUIRED[body]
        return row

    def check(self, name, process):
        """That what comes back is what was sent, and that the application saw none of the values."""
        for body, (_, file) in BODIES.items():
            text = (HERE / "bodies" / file).read_bytes()
            sent, back = json.loads(text), json.loads(post(process, "/sealed", text))
            # njs and Lua damage integers beyond 2^53; that is told in README.md and not held against their speed.
            if flat(back).keys() != flat(sent).keys() or strings(back) != strings(sent):
                raise Failed(f"{name}: {body} did not come back as it was sent")
            raw = json.loads(post(process, "/raw", text, {"X-Raw": "1"}))
            for path, value in strings(raw).items():
                if (path[-1] in FIELDS) != value.startswith(("sc1.", "enc:v1:")):
                    raise Failed(f"{name}: {body}: the application was sent {path} in a form it should not have")

    # What it takes.

    def proxy(self, name):
        port = free_port()
        if name == "sidecloak":
            config = self.dir / "sidecloak.yaml"
            config.write_text(SIDECLOAK.format(port=port, upstream=self.upstream_port, here=HERE, dir=self.dir))
            argv = [self.binary, "run", "--config", str(config), "--i-know", "--dev"]
        elif name == "haproxy":
            argv = ["haproxy", "-db", "-f", self.template(HERE / "haproxy.cfg", PORT=port)]
        elif name == "envoy-lua":
            config = self.template(HERE / "envoy-lua/envoy.yaml", PORT=port)
            argv = [str(ENVOY), "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        elif name == "nginx":
            argv = self.nginx("../proxy.conf", PORT=port, LOG="off")
        else:
            argv = self.nginx(f"nginx-{name}/nginx.conf", PORT=port)
        return self.start(name, argv, port, self.proxy_cpus)

    def start(self, name, argv, port, cpus):
        log = self.stack.enter_context(open(self.dir / f"{name}.out", "ab"))
        process = Process(name, argv, port, cpus, log)
        self.stack.callback(process.stop)
        began = time.perf_counter()
        while time.perf_counter() - began < 20:
            if process.child.poll() is not None:
                raise Failed(f"{name} ended with {process.child.returncode}: {(self.dir / f'{name}.out').read_text()[-2000:]}")
            with contextlib.suppress(OSError, Failed):
                post(process, "/start", b"{}")
                process.threads_to(cpus)
                return process
            time.sleep(0.02)
        raise Failed(f"{name} gave no answer within 20 s")

    def nginx(self, name, **values):
        config = self.template(HERE / name, **values)
        return ["nginx", "-p", str(self.dir), "-e", f"{self.dir}/nginx.err", "-c", config]

    def template(self, path, **values):
        values |= {"DIR": self.dir, "HERE": HERE, "UPSTREAM": self.upstream_port, "USER": pwd.getpwuid(os.getuid()).pw_name}
        text = path.read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        made = self.dir / f"{path.parent.name}-{path.name}"
        made.write_text(text)
        return str(made)


def post(process, path, body, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json"} | (headers or {}))
        answer = connection.getresponse()
        text = answer.read(1 << 24)
        if answer.status != 200:
            raise Failed(f"{process.name}: {path}: {answer.status}")
        return text


def flat(value, path=()):
    """Every leaf of a document, by its path."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flat(inner, (*path, name)).items()}
    if isinstance(value, list):
        return {k: v for at, inner in enumerate(value) for k, v in flat(inner, (*path, at)).items()}
    return {path: value}


def strings(value):
    return {path: leaf for path, leaf in flat(value).items() if isinstance(leaf, str)}


def figures(runs):
    return {"rate": statistics.median(r["rate"] for r in runs), "cpu_us": statistics.median(r["cpu_us"] for r in runs)}


def table(results):
    lines = []
    for row in results["rows"]:
        title = "passed as it is" if row["what"] == "plain" else "sealed and opened"
        lines.append(f"\n{BODIES[row['body']][0]}, {title}, {row['connections']} connections")
        lines.append(f"  {'':<12}{'requests/s':>12}{'CPU µs':>10}   sidecloak: times the rate (spread), times the CPU")
        lines.append(f"  {'sidecloak':<12}{row['sidecloak']['rate']:>12.0f}{row['sidecloak']['cpu_us']:>10.1f}")
        for name, peer in row["peers"].items():
            low, high = peer["spread"]
            lines.append(
                f"  {name:<12}{peer['rate']:>12.0f}{peer['cpu_us']:>10.1f}"
                f"   {peer['times']:.2f} ({low:.2f}-{high:.2f}), {peer['cpu']:.2f}"
            )
        if "least" in row:
            met = "met" if row["least"] >= row["required"] else "MISSED"
            by_cpu = row["least_by_cpu"]
            lines.append(f"  beside the best of them {row['least']:.2f}, by CPU {by_cpu:.2f}; required {row['required']}: {met}")
    return "\n".join([f"{name}: {text}" for name, text in results["versions"].items()] + lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=5, help="of each load, interleaved, besides one to warm up (5)")
    parser.add_argument("--seconds", type=int, default=1, help="of each load (1)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64], help="at once (16 64)")
    parser.add_argument("--binary", default=str(ROOT / "target/release/sidecloak"), help="measure this one, build nothing")
    options = parser.parse_args()
    for name, (low, high) in {"rounds": (1, 20), "seconds": (1, 5)}.items():
        if not low <= getattr(options, name) <= high:
            parser.error(f"--{name} is between {low} and {high}")
    options.rounds += 1
    if not all(1 <= count <= 64 for count in options.connections):
        parser.error("--connections are between 1 and 64, as many as every proxy keeps to the application")
    try:
        with tempfile.TemporaryDirectory(prefix="sidecloak-peers-") as directory, contextlib.ExitStack() as stack:
            os.chmod(directory, 0o755)  # nginx's worker reads there
            rows = Bench(options, directory, stack).run()
    except Failed as why:
        sys.exit(f"bench: {why}")
    versions = {"sidecloak": version([options.binary, "--version"]), "nginx": version(["nginx", "-v"])}
    versions |= {"haproxy": version(["haproxy", "-v"])}
    if ENVOY.exists():
        versions["envoy"] = version([str(ENVOY), "--version"])
    results = {"versions": versions, "cpus": len(os.sched_getaffinity(0)), "rows": rows}
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
