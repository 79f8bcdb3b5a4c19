"""`sidecloak check` reads every sidecloak.yaml, its rules with their tests, and the key sets, as the pods would."""

import json
import pathlib

import pods
import rendered
from findings import Workload

# What is known of these files: nothing has a recovery key yet, plain HTTP is meant.
EXPECTED = {"no-recovery"}


def main(owner, place, binary, *_):
    given = {
        "Secret/sidecloak-keys": {"master.key": owner.master_key},
        "Secret/sidecloak-postgres": {"url": "postgres://u@127.0.0.1:1/none?connect_timeout=1", "ca.crt": owner.certificate},
        "Secret/sidecloak-authority-tls": {"tls.crt": owner.certificate, "tls.key": owner.key},
        "Secret/customers-tls": {"tls.crt": owner.certificate, "tls.key": owner.key},
        "ConfigMap/sidecloak-ca": {"ca.crt": owner.certificate},
        "ConfigMap/sidecloak-fleet": {"ca.crt": owner.certificate, "owner": "ab" * 32},
        "ConfigMap/sidecloak-jwks": {"jwks.json": owner.key_set()},
        "ConfigMap/customers-rules": {"rules.yaml": (rendered.KUBERNETES / "base/rules.yaml").read_text()},
    }
    checked = tested = 0
    for number, case in enumerate(rendered.everything(owner, place)):
        for thing in case.objects:
            if thing["kind"] != "Deployment":
                continue
            pod = pods.Pod(Workload(thing), case, given, pathlib.Path(place) / f"pod{number}", binary)
            answer = checked_in(pod)
            wrong = [f for f in answer["findings"] if f["severity"] == "error" and f["code"] != "keyring" or f["code"] not in EXPECTED | {"keyring"}]
            assert not wrong, f"{case.name}: {wrong}"
            if pod.work.proxy["args"] == ["run"]:
                assert answer["rules"] >= 1, f"{case.name}: {answer}"
            checked, tested = checked + 1, tested + answer["tests"]
            assert spoilt(pod), f"{case.name}: a spoilt file is not refused"
    assert checked >= 11 and tested >= 3, (checked, tested)
    print(f"{checked} configurations checked, {tested} tests in their rules passed")


def checked_in(pod):
    done = pod.once(pod.work.proxy, ["check", "--json"])
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def spoilt(pod):
    """The same files with a key that there is not."""
    path = pod.path(pod.work.proxy, "/etc/sidecloak/sidecloak.yaml")
    text = path.read_text()
    path.write_text(text + "\nkeyrings: {}\n")
    answer = pod.once(pod.work.proxy, ["check", "--json"])
    path.write_text(text)
    return "unknown-field" in answer.stdout + answer.stderr
