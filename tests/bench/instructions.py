"""Instructions per request, of sidecloak and of nginx. Run by instructions.sh; what is counted and why stands in README.md."""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
from bench import HERE, ROOT, Failed, load

EVENTS = ["instructions:u", "instructions:k"]
KINDS = ["nginx", "sidecloak"]
ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")


def counted(process, path, document, connections, seconds, cpus):
    """What one request costs, after a second of the same load."""
    load(process, path, document, connections, 1, cpus)
    pids = ",".join(map(str, process.pids()))
    perf = subprocess.Popen(
        ["perf", "stat", "-e", ",".join(EVENTS), "-x,", "-p", pids], stderr=subprocess.PIPE, text=True, env=os.environ | {"LC_ALL": "C"}
    )
    # Until it counts.
    time.sleep(0.3)
    try:
        run, _ = load(process, path, document, connections, seconds, cpus)
    finally:
        perf.send_signal(signal.SIGINT)
        text = perf.communicate()[1]
    found = {}
    for line in text.splitlines():
        value, _, event, *_ = [*line.split(","), "", ""][:4]
        if event in EVENTS and value.replace(".", "").isdigit():
            found[event] = float(value) / run["requests"]
    if "instructions:u" not in found:
        raise Failed(f"perf counts no instructions here (a virtual machine, or kernel.perf_event_paranoid):\n{text}")
    return found | {"cpu_us": run["cpu_us"]}


def fixed(options, stack, directory, kinds=KINDS):
    """The loads of bench.py, fixed answers: what each is called, the proxies, and what is asked of them."""
    b = bench.Bench(options, directory, stack)
    b.keys()
    b.upstream()
    proxies = {}
    for kind in kinds:
        proxies[kind] = b.start(kind, "off")
        stack.callback(proxies[kind].stop)
        proxies[kind].first_answer()
        proxies[kind].threads_to(b.proxy_cpus)
    for name, path, document in [("passthrough, 1 KB", "/plain", None), ("five fields each way", "/sealed", b.document)]:
        yield name, proxies, (path, document, bench.CONNECTIONS), b.load_cpus


def echoed(options, stack, directory, kinds=KINDS):
    """The same for the bodies of peers.sh: the application sends back what it got."""
    spec = importlib.util.spec_from_file_location("peers", HERE / "peers/bench.py")
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    os.chmod(directory, 0o755)
    b = peers.Bench(options, directory, stack)
    b.start("upstream", b.nginx("upstream.conf", PORT=b.upstream_port), b.upstream_port, b.load_cpus)
    proxies = {kind: b.proxy(kind) for kind in kinds}
    for title, file in peers.BODIES.values():
        yield f"{title} each way", proxies, ("/sealed", peers.HERE / "bodies" / file, 16), b.load_cpus


def rows(options, loads, idle):
    """What each load costs each proxy; `idle` gets what they hold in memory before the first."""
    for name, proxies, (path, document, connections), cpus in loads:
        for kind, process in proxies.items():
            idle.setdefault(kind, process.memory())
        yield {"load": name} | {kind: counted(p, path, document, connections, options.seconds, cpus) for kind, p in proxies.items()}


def table(results):
    lines = [f"{'':<30}{'':<11}{'user':>12}{'kernel':>10}{'both':>12}   beside nginx: user, both"]
    for row in results["rows"]:
        nginx = row["nginx"]
        for kind in ["nginx", "sidecloak"]:
            found = row[kind]
            both = found["instructions:u"] + found["instructions:k"]
            line = f"{row['load'] if kind == 'nginx' else '':<30}{kind:<11}"
            line += f"{found['instructions:u']:>12,.0f}{found['instructions:k']:>10,.0f}{both:>12,.0f}"
            if kind == "sidecloak":
                line += f"   {found['instructions:u'] / nginx['instructions:u']:.2f},"
                line += f" {both / (nginx['instructions:u'] + nginx['instructions:k']):.2f}"
            lines.append(line)
    idle = results["idle"]
    lines.append(f"resident after one request: nginx {idle['nginx']:.1f} MiB, sidecloak {idle['sidecloak']:.1f} MiB")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", type=int, default=2, help="of each load (2)")
    parser.add_argument("--binary", default=str(ROOT / "target/release/sidecloak"), help="measure this one, build nothing")
    options = parser.parse_args()
    if not 1 <= options.seconds <= 5:
        parser.error("--seconds is between 1 and 5")
    options.rounds = 1
    idle = {}
    try:
        with tempfile.TemporaryDirectory(prefix="sidecloak-bench-") as directory, contextlib.ExitStack() as stack:
            found = list(rows(options, fixed(options, stack, directory), idle))
        if ECHO.exists():
            with tempfile.TemporaryDirectory(prefix="sidecloak-bench-") as directory, contextlib.ExitStack() as stack:
                found += rows(options, echoed(options, stack, directory), idle)
        else:
            print("without libnginx-mod-http-echo no long bodies are counted", file=sys.stderr)
    except Failed as why:
        sys.exit(f"instructions: {why}")
    results = {"rows": found, "idle": idle}
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
