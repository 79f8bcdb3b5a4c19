"""What helm makes of good values, and what it says to bad ones."""

import re

import rendered

SQLITE = "keyring.kind is sqlite, one file of one process: "
WAY = ", or move the keyring to PostgreSQL (`sidecloak keys migrate --to postgres://…`) and set keyring.kind to postgres"
KEYS = ["--set", "keyring.masterKey.secretName=sidecloak-keys"]
POSTGRES = KEYS + ["--set", "keyring.postgres.secretName=sidecloak-postgres"]
TLS = ["--set", "authority.tls.secretName=tls"]
LITE = KEYS + TLS + ["--set", "keyring.kind=sqlite"]
NO_AUTHORITY = ["--set", "authority.enabled=false"]
GATEWAY = NO_AUTHORITY + ["--set", "gateway.enabled=true"]
UPSTREAM = ["--set", "gateway.upstream=http://customers:80"]
RULES = ["--set-json", 'gateway.rules=[{"name":"r","match":{"path":"/**"},"protect":[{"fields":["$..ssn"]}]}]']
AT_AUTHORITY = ["--set", "keyring.kind=authority"]
URL = ["--set", "keyring.authority.url=https://a:8440"]

# Each with all of its message behind `execution error at (…): `.
REFUSED = [
    ([], "keyring.masterKey.secretName is empty: make the key and its Secret (`kubectl create secret generic sidecloak-keys --from-file=master.key`) and name it"),
    (KEYS, "keyring.postgres.secretName is empty: name a Secret whose key `url` is postgres://USER@HOST:PORT/DATABASE, or set keyring.kind to sqlite or authority"),
    (POSTGRES, "authority.tls.secretName is empty: name a Secret of type kubernetes.io/tls (`kubectl create secret tls`, or a Certificate of cert-manager)"),
    (LITE, f"{SQLITE}set authority.replicas to 1 and authority.autoscaling.enabled to false{WAY}"),
    (LITE + ["--set", "authority.replicas=1,authority.autoscaling.enabled=true"], f"{SQLITE}set authority.replicas to 1 and authority.autoscaling.enabled to false{WAY}"),
    (LITE + GATEWAY + UPSTREAM + RULES + ["--set", "gateway.replicas=2"], f"{SQLITE}set gateway.replicas to 1{WAY}"),
    (LITE + NO_AUTHORITY + ["--set", "sidecar.enabled=true,sidecar.replicas=3"], f"{SQLITE}give your Deployment one replica (sidecar.replicas){WAY}"),
    (LITE + ["--set", "authority.replicas=1,gateway.enabled=true"], f"{SQLITE}enable one of authority, gateway and sidecar alone{WAY}"),
    (AT_AUTHORITY + TLS, "keyring.kind is authority, and an authority keeps its keyring itself: set keyring.kind to postgres (or sqlite with one replica), or authority.enabled to false"),
    (AT_AUTHORITY + GATEWAY, "keyring.authority.url is not https://HOST:PORT: name the authority's Service, such as https://sidecloak-authority.sidecloak.svc:8440"),
    (AT_AUTHORITY + GATEWAY + ["--set", "keyring.authority.url=http://a:8440"], "keyring.authority.url is not https://HOST:PORT: name the authority's Service, such as https://sidecloak-authority.sidecloak.svc:8440"),
    (AT_AUTHORITY + GATEWAY + URL, "keyring.authority.owner is empty: pin the keyring's owner, which `sidecloak keys list` shows at the authority; nothing is believed without it"),
    (POSTGRES + TLS + ["--set", "authority.autoscaling.enabled=true,authority.autoscaling.minReplicas=9"], "authority.autoscaling.minReplicas is more than maxReplicas: raise the one, or lower the other"),
    (POSTGRES + GATEWAY, "gateway.upstream is empty: say where the application is, such as http://127.0.0.1:8080 in the same pod"),
    (POSTGRES + GATEWAY + UPSTREAM, "gateway.rules is empty, so nothing would be sealed: write rules, or name a ConfigMap with rules.yaml in gateway.rulesConfigMapName"),
    (POSTGRES + GATEWAY + UPSTREAM + RULES + ["--set", "gateway.rulesConfigMapName=r"], "gateway.rules and gateway.rulesConfigMapName are both given: which of them counts? Take one away"),
]

# What the schema of the values says no to; part of its message.
MISSPELT = [
    ("authority.replica=3", "additional properties 'replica' not allowed"),
    ("keyrings.kind=sqlite", "additional properties 'keyrings' not allowed"),
    ("keyring.kind=mysql", "value must be one of 'sqlite', 'postgres', 'authority'"),
    ("keyring.masterKey.secretname=x", "additional properties 'secretname' not allowed"),
    ("keyring.authority.owner=abc", "does not match pattern"),
    ("authority.replicas=0", "minimum: got 0, want 1"),
    ("authority.autoscaling.minReplicas=1", "minimum: got 1, want 2"),
    ("gateway.port=70000", "maximum: got 70,000, want 65,535"),
    ("gateway.upstream=customers:80", "does not match pattern"),
    ("image.pullPolicy=Sometimes", "value must be one of"),
    ("image.digest=latest", "does not match pattern"),
    ("log=loud", "value must be one of"),
    ("keyring.sqlite.size=big", "does not match pattern"),
    ("networkPolicy.enabled=nope", "got string, want boolean"),
]


def main(owner, place, *_):
    helm = rendered.TOOLS / "helm"
    for name, path in rendered.CI.items():
        rendered.must(helm, "lint", "--strict", rendered.CHART, "-f", path)
    for case in rendered.charts(place):
        assert case.objects, case.name
    for arguments, message in REFUSED:
        code, _, err = rendered.template(rendered.CHART, *arguments)
        assert code != 0, f"{arguments} is taken, without: {message}"
        assert said(err) == message, f"{arguments}: {err}"
    good = ["-f", rendered.CI["authority"]]
    for setting, message in MISSPELT:
        code, _, err = rendered.template(rendered.CHART, *good, "--set", setting)
        assert code != 0 and message in err, f"{setting}: {code} {err}"
    variants(good)
    notes(helm)
    one_version(helm)
    print(f"{len(rendered.CI)} sets of values linted and rendered, {len(REFUSED)} refused by name, {len(MISSPELT)} by the schema")


def said(err):
    line = next((line for line in err.splitlines() if "execution error at" in line), err)
    return line.partition("): ")[2]


def variants(good):
    """What settings do to what is rendered."""
    fleet = rendered.CI["gateway-of-a-fleet"]
    for arguments, present, absent in [
        (["--set", "image.digest=sha256:" + "a" * 64], "image: sidecloak@sha256:" + "a" * 64, "image: sidecloak:"),
        (["--set", "image.tag=9.9.9,image.repository=mirror/sidecloak"], "image: mirror/sidecloak:9.9.9", "image: sidecloak:0.1.0"),
        (["--set", "networkPolicy.enabled=false"], "kind: Deployment", "kind: NetworkPolicy"),
        (["--set", "authority.podDisruptionBudget.enabled=false"], "kind: Deployment", "kind: PodDisruptionBudget"),
        (["--set", "keyring.init=false"], "kind: Deployment", "kind: Job"),
        (["--set", "authority.autoscaling.enabled=false"], "replicas: 2", "kind: HorizontalPodAutoscaler"),
        (["--set", "scrapeAnnotations=false"], "kind: Deployment", "prometheus.io/scrape"),
        (["--set", "fullnameOverride=keys"], "name: keys-authority", "name: rel-sidecloak"),
        (["--set", "authority.enabled=false"], "", "kind:"),
        (["-f", fleet, "--set", "keyring.authority.apiKey.secretName=k"], "api_key: file:/run/secrets/sidecloak/api.key", "serviceAccountToken"),
        (["-f", fleet], "token: file:/run/secrets/sidecloak/token", "api_key"),
    ]:
        values = arguments if "-f" in arguments else [*good, *arguments]
        code, out, err = rendered.template(rendered.CHART, *values)
        assert code == 0 and present in out and absent not in out, f"{arguments}: {code} {err}{out}"


def notes(helm):
    """What an installation says."""
    keys = "/sidecloak apikeys create --purpose sidecar"
    for name, arguments, present, absent in [
        ("authority", [], "deploy/rel-sidecloak-authority -- /sidecloak keys list", keys),
        ("authority", ["--set-json", "authority.issuers=[]"], keys, "gateway"),
        ("gateway", [], "The keyring is on the volume rel-sidecloak-keyring", "authority"),
        ("gateway-of-a-fleet", [], "in front of http://customers.shop.svc:80", "recovery"),
    ]:
        out = rendered.must(helm, "install", "rel", rendered.CHART, "--dry-run=client", "-f", rendered.CI[name], *arguments)
        said = out.rpartition("\nNOTES:\n")[2]
        assert present in said and absent not in said and "helm test rel" in said, f"{name} {arguments}: {said}"


def one_version(helm):
    """The chart's version is the program's, and so is the overlays' image."""
    text = (rendered.REPOSITORY / "Cargo.toml").read_text()
    version = next(line.split('"')[1] for line in text.splitlines() if line.startswith("version"))
    shown = rendered.must(helm, "show", "chart", rendered.CHART)
    assert f"\nversion: {version}\n" in shown and f"appVersion: {version}\n" in shown, shown
    for path in rendered.KUBERNETES.rglob("kustomization.yaml"):
        for line in path.read_text().splitlines():
            tag = re.search(r"newTag: *[\"']?([^\s\"',}]+)", line)
            assert not tag or tag[1] == version, f"{path}: {line}"
