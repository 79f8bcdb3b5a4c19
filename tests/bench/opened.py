"""An answer of five thousand tokens opened, beside the same answers passed. Run by opened.sh; what is measured stands in README.md."""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path

import bench
from bench import Failed, Process, call, free_port

FIELDS = ["$.customers[*].ssn", "$.customers[*].email", "$.customers[*].phone", "$.customers[*].card.number", "$.customers[*].metadata.ref"]
CUSTOMERS = 1000
REQUIRED = 9

UPSTREAM = """
daemon off; master_process off; pid {dir}/upstream.pid; error_log {dir}/upstream.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; client_body_temp_path {dir}/u0; proxy_temp_path {dir}/u1;
  fastcgi_temp_path {dir}/u2; uwsgi_temp_path {dir}/u3; scgi_temp_path {dir}/u4;
  server {{ listen 127.0.0.1:{upstream}; default_type application/json; root {dir}/www; }}
}}
"""


def customer(n):
    items = [{"sku": f"SKU-{n * 7 % 1000000:06}", "qty": 1 + n % 9, "price": n * 31 % 99999 / 100, "desc": "A fairly ordinary product description"}] * 2
    return {
        "id": f"cus_{n:016x}", "object": "customer", "created": 1700000000 + n, "livemode": True, "currency": "eur", "balance": n * 17 % 20000 / 100,
        "name": {"first": "Zoë", "last": "O'Neil"}, "email": f"user{n}@example.com", "phone": f"+49 30 {n:07}", "ssn": f"{n % 899 + 1:03}-45-6789",
        "address": {"line1": f"{n} Example Street", "line2": None, "city": "Springfield", "postal_code": f"{n:05}", "country": "US"},
        "card": {"brand": "visa", "number": f"4{n:015}", "exp_month": 1 + n % 12, "exp_year": 2030, "cvc_check": "pass"},
        "metadata": {"plan": "gold", "ref": f"{n * 0x9E3779B97F4A7C15 % 2**128:032x}", "note": 'line one\nline "two" \\ end'},
        "preferences": {"newsletter": False, "locale": "en-US", "tags": ["a", "b", "vip", f"beta-{n % 97}"]},
        "items": items,
    }  # fmt: skip


class Answers:
    """The proxy, before an upstream that answers with files."""

    def __init__(self, options, directory, stack):
        self.dir, self.binary = Path(directory), str(Path(options.binary).resolve())
        www = self.dir / "www"
        www.mkdir()
        rules = self.dir / "rules.yaml"
        protect = json.dumps({"fields": FIELDS})
        rules.write_text(f"rules:\n  - name: opened\n    match: {{ path: /opened.json }}\n    protect: [{protect}]\n")
        self.plain = json.dumps({"customers": [customer(n) for n in range(CUSTOMERS)]}, ensure_ascii=False, separators=(",", ":"))
        (www / "plain.json").write_text(self.plain)
        where = ["--keyring", f"{self.dir}/keyring.db", "--master-key-file", f"{self.dir}/master.key", "--i-know"]
        call([self.binary, "keys", "init", *where])
        sealed = call([self.binary, "seal", *where, "--rules", str(rules), "--path", "/opened.json", str(www / "plain.json")]).rstrip("\n")
        if sealed.count('"sc1.') != CUSTOMERS * len(FIELDS):
            raise Failed("`sidecloak seal` did not seal every field")
        for name in ["sealed", "opened"]:
            (www / f"{name}.json").write_text(sealed)
        self.sealed = sealed

        upstream, self.port = free_port(), free_port()
        config = self.dir / "upstream.conf"
        config.write_text(UPSTREAM.format(dir=self.dir, upstream=upstream))
        log = stack.enter_context(open(self.dir / "out", "ab"))
        argv = ["nginx", "-p", str(self.dir), "-e", f"{self.dir}/nginx.err", "-c", str(config)]
        self.start(Process("upstream", argv, upstream, None, log), stack, "/plain.json")
        config = self.dir / "sidecloak.yaml"
        text = bench.SIDECLOAK.format(port=self.port, upstream=upstream, rules=rules, dir=self.dir, probe=free_port(), log="warn")
        config.write_text(text)
        argv = [self.binary, "run", "--config", str(config), "--i-know"]
        self.proxy = self.start(Process("sidecloak", argv, self.port, None, log), stack, "/plain.json")

    def start(self, process, stack, path):
        stack.callback(process.stop)
        process.first_answer(path=path)
        return process

    def check(self):
        for name, expected in [("plain", self.plain), ("sealed", self.sealed), ("opened", self.plain)]:
            if bench.get(self.proxy, f"/{name}.json").decode() != expected:
                raise Failed(f"/{name}.json is not what it should be")

    def cpu(self):
        """Nanoseconds that the threads of the proxy have run."""
        tasks = Path(f"/proc/{self.proxy.child.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def load(self, name, times):
        """CPU microseconds for each answer."""
        before = self.cpu()
        for _ in range(times):
            bench.get(self.proxy, f"/{name}.json")
        return (self.cpu() - before) / times / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="of all answers, interleaved (15)")
    parser.add_argument("--times", type=int, default=20, help="that each is asked for in a round (20)")
    parser.add_argument("--binary", default=str(bench.ROOT / "target/release/sidecloak"), help="measure this one, build nothing")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sidecloak-bench-") as directory, contextlib.ExitStack() as stack:
            answers = Answers(options, directory, stack)
            answers.check()
            names = ["plain", "sealed", "opened"]
            runs = {name: [] for name in names}
            for turn in range(max(1, options.rounds)):
                for name in bench.alternate(names, turn):
                    runs[name].append(answers.load(name, max(1, options.times)))
            sizes = {"plain": len(answers.plain.encode()), "sealed": len(answers.sealed.encode())}
    except Failed as why:
        sys.exit(f"opened: {why}")
    cpu = {name: statistics.median(took) for name, took in runs.items()}
    ratios = {name: statistics.median(o / p for o, p in zip(runs["opened"], runs[name])) for name in ["plain", "sealed"]}
    met = ratios["plain"] <= REQUIRED
    results = {"fields": CUSTOMERS * len(FIELDS), "bytes": sizes, "cpu_us": cpu, "ratio_to": ratios, "required": REQUIRED, "met": met}
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print(f"CPU us for an answer: {cpu['plain']:.0f} passed ({sizes['plain']} bytes), {cpu['sealed']:.0f} passed sealed ({sizes['sealed']} bytes), {cpu['opened']:.0f} opened")
        print(f"opened: {ratios['plain']:.1f} times passing what comes out, {ratios['sealed']:.1f} times passing what went in; required {REQUIRED}: {'met' if met else 'MISSED'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
