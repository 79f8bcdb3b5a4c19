#!/usr/bin/env python3
"""The measuring behind authority.sh."""
import argparse
import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from statistics import median

VALUE = base64.b64encode(b"123-45-6789").decode()
BATCH = 100
TICKS = os.sysconf("SC_CLK_TCK")
REQUIRED, WISHED = 3.0, 6.0
# Values per second of OpenBao 2.7.2 on two other cores, for machines where it cannot be had.
RECORDED = {("single", 1): 4600, ("batch", 1): 91_000, ("single", 16): 4600, ("batch", 16): 91_000}


def call(method, url, headers, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        text = response.read()
    return json.loads(text) if text else None


class Ended:
    """A process that is ended by its own handle, whatever happens."""

    def __init__(self, command, **more):
        self.process = subprocess.Popen(command, **more)

    def cpu(self):
        """Seconds of user and system time of all its threads so far."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class OpenBao(Ended):
    name, bodies = "OpenBao transit", {
        "single": {"plaintext": VALUE},
        "batch": {"batch_input": [{"plaintext": VALUE}] * BATCH},
    }

    def __init__(self, binary, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [binary, "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]
        log = open(folder / "bao.log", "wb")
        super().__init__(command + [f"-dev-listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=folder)
        url = f"http://127.0.0.1:{port}/v1"
        self.headers = {"X-Vault-Token": "root", "Content-Type": "application/json"}
        for _ in range(100):
            try:
                call("GET", url + "/sys/health", {})
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        call("POST", url + "/sys/mounts/transit", self.headers, {"type": "transit"})
        call("POST", url + "/transit/keys/k1", self.headers, {"type": "aes256-gcm96"})
        self.url = url + "/transit/encrypt/k1"
        self.server = self

    def check(self):
        answer = call("POST", self.url, self.headers, self.bodies["batch"])
        assert len(answer["data"]["batch_results"]) == BATCH

    def request(self, _):
        return self.url, self.headers


class Ncloud:
    name, bodies = "NAVER face", {"single": {"plaintext": VALUE}, "batch": {"plaintext": [VALUE] * BATCH}}

    def __init__(self, at, server):
        self.at, self.server = at, server
        asked = {"keyName": "bench", "keyType": "AES256", "isAutoRotation": False, "protectionType": "BASIC"}
        self.tag = self.ask("POST", "/kms/v1/keys", asked)["data"]["keyTag"]

    def signed(self, method, target):
        # A signature is good for five minutes.
        stamp = str(int(time.time() * 1000))
        message = f"{method} {target}\n{stamp}\n{self.at['access']}".encode()
        digest = hmac.new(self.at["secret"].encode(), message, hashlib.sha256).digest()
        return {
            "x-ncp-apigw-timestamp": stamp,
            "x-ncp-iam-access-key": self.at["access"],
            "x-ncp-apigw-signature-v2": base64.b64encode(digest).decode(),
        }

    def ask(self, method, target, body):
        return call(method, self.at["url"] + target, self.signed(method, target), body)

    def check(self):
        of = f"/kms/v1/keys/{self.tag}"
        sealed = self.ask("POST", of + "/encrypt", self.bodies["batch"])["data"]["ciphertext"]
        assert len(set(sealed)) == BATCH
        assert self.ask("POST", of + "/decrypt", {"ciphertext": sealed})["data"]["plaintext"] == [VALUE] * BATCH

    def request(self, _):
        target = f"/kms/v1/keys/{self.tag}/encrypt"
        return self.at["url"] + target, self.signed("POST", target)


class Crittora:
    name, bodies = "Crittora face", {"single": {"data": "123-45-6789"}}

    def __init__(self, at, server):
        self.server = server
        self.url, self.headers = at["url"] + "/v1/encrypt", at["headers"] | {"Content-Type": "application/json"}

    def check(self):
        assert call("POST", self.url, self.headers, self.bodies["single"])["body"]["encrypted_data"]

    def request(self, _):
        return self.url, self.headers


def rate(peer, kind, connections, seconds, folder):
    """Values per second, and CPU of the server for each in microseconds."""
    url, headers = peer.request(kind)
    script = folder / "load.lua"
    lines = ["wrk.method = 'POST'", f"wrk.body = [==[{json.dumps(peer.bodies[kind], separators=(',', ':'))}]==]"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    script.write_text("\n".join(lines))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    before = peer.server.cpu()
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    spent = peer.server.cpu() - before
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"{peer.name} did not answer every request well:\n{out}")
    values = BATCH if kind == "batch" else 1
    total = int(re.search(r"(\d+) requests in", out)[1])
    return float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]) * values, spent * 1e6 / (total * values)


def main():
    parser = argparse.ArgumentParser(description="The authority's encrypt calls beside OpenBao's transit engine")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--seconds", type=int, default=2, choices=range(1, 11), metavar="1..10")
    parser.add_argument("--binary", default="target/release/examples/bench-authority")
    parser.add_argument("--bao", default="target/tools/openbao/venv/bin/bao")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        binary = str(pathlib.Path(options.binary).resolve())
        own = Ended([binary, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        bao = None
        try:
            at = json.loads(own.process.stdout.readline())
            ours = [Ncloud(at["ncloud"], own)]
            crittora = Crittora(at["crittora"], own)
            try:
                crittora.check()
                ours.append(crittora)
            except (AssertionError, KeyError, ValueError, urllib.error.URLError):
                print("NOT MEASURED: this build does not serve the Crittora face", file=sys.stderr)
            if pathlib.Path(options.bao).exists():
                bao = OpenBao(str(pathlib.Path(options.bao).resolve()), folder)
            else:
                print("OPENBAO IS NOT HERE: ratios are to figures RECORDED ON ANOTHER MACHINE", file=sys.stderr)
            peers = ours + ([bao] if bao else [])
            for peer in ours[:1] + ([bao] if bao else []):
                peer.check()
            report(measure(peers, options, folder), ours, bao, options.json)
        finally:
            own.end()
            if bao:
                bao.end()


def measure(peers, options, folder):
    """{(kind, connections): {peer: [(rate, CPU) of each round]}}, the peers in turns."""
    loads = [(kind, connections) for kind in ["single", "batch"] for connections in [1, 16]]
    found = {load: {peer.name: [] for peer in peers if load[0] in peer.bodies} for load in loads}
    for peer in peers:
        for kind in peer.bodies:
            rate(peer, kind, 1, 1, folder)
    for number in range(options.rounds):
        for load in loads:
            turn = number % len(peers)
            for peer in peers[turn:] + peers[:turn]:
                if load[0] in peer.bodies:
                    found[load][peer.name].append(rate(peer, *load, options.seconds, folder))
    return found


def report(found, ours, bao, as_json):
    rows, short = [], []
    for (kind, connections), rates in found.items():
        for peer in ours:
            if peer.name not in rates:
                continue
            recorded = (RECORDED[kind, connections], None)
            theirs = rates[bao.name] if bao else [recorded] * len(rates[peer.name])
            # Neighbours in time, so that a busy moment hurts both.
            pairs = list(zip(rates[peer.name], theirs))
            ratios = [own[0] / other[0] for own, other in pairs]
            rows.append({
                "load": kind, "connections": connections, "face": peer.name,
                "values_per_second": median(own[0] for own, _ in pairs),
                "openbao": median(other[0] for _, other in pairs), "measured": bao is not None,
                "ratio": median(ratios), "least": min(ratios), "most": max(ratios),
                "cpu_us": median(own[1] for own, _ in pairs),
                "openbao_cpu_us": median(other[1] for _, other in pairs) if bao else None,
                "cpu_ratio": median(other[1] / own[1] for own, other in pairs) if bao else None,
            })
            if rows[-1]["ratio"] < REQUIRED:
                short.append(rows[-1])
    if as_json:
        print(json.dumps(rows))
    else:
        source = "measured here" if bao else "RECORDED ON ANOTHER MACHINE"
        print(f"{'':32}{'values per second (wall clock)':^42}{'CPU µs per value (of the server)':>34}")
        print(
            f"{'load':8}{'conn.':>6}  {'face':16}{'own':>11}{'OpenBao':>11}{'ratio':>7}  {'spread':11}"
            f"{'own':>11}{'OpenBao':>11}{'ratio':>8}   (OpenBao {source})"
        )
        for row in rows:
            mark = "" if row["ratio"] >= WISHED else "  below 6" if row["ratio"] >= REQUIRED else "  BELOW 3"
            spread = f"{row['least']:.1f}–{row['most']:.1f}"
            cpu = [f"{row[key]:.2f}" if row[key] else "-" for key in ["cpu_us", "openbao_cpu_us", "cpu_ratio"]]
            print(
                f"{row['load']:8}{row['connections']:>6}  {row['face']:16}{row['values_per_second']:>11,.0f}"
                f"{row['openbao']:>11,.0f}{row['ratio']:>7.1f}  {spread:11}{cpu[0]:>11}{cpu[1]:>11}{cpu[2]:>8}{mark}"
            )
    if short:
        sys.exit(1)


if __name__ == "__main__":
    main()
