"""What `kubectl kustomize` and `helm template` make of deploy/kubernetes, with the files that a cluster's owner makes."""

import base64
import dataclasses
import datetime
import ipaddress
import json
import pathlib
import secrets
import shutil
import subprocess

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
KUBERNETES = REPOSITORY / "deploy/kubernetes"
CHART = KUBERNETES / "chart/sidecloak"
TOOLS = REPOSITORY / "target/tools/helm"
PARENT = pathlib.Path(__file__).parent / "parent"
AUTHORITY = "sidecloak-authority.sidecloak.svc"
CI = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}


@dataclasses.dataclass
class Case:
    """Objects that are applied together, and what has to be there already."""

    name: str
    objects: list
    given: set = dataclasses.field(default_factory=set)
    namespace: str = "default"


@dataclasses.dataclass
class Owner:
    """What only the owner of a cluster has."""

    master_key: str
    certificate: str
    key: str
    issuer: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls):
        ca_free = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sidecloak")])
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.DNSName(AUTHORITY), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(ca_free.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(ca_free, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        return cls(
            master_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="),
            certificate=certificate.public_bytes(pem).decode(),
            key=ca_free.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
            issuer=ec.generate_private_key(ec.SECP256R1()),
        )

    def key_set(self):
        numbers = self.issuer.public_key().public_numbers()
        point = {"x": number(numbers.x), "y": number(numbers.y)}
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "cluster", "use": "sig", "alg": "ES256", **point}]})


def number(value):
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).decode().rstrip("=")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def must(*command):
    code, out, err = run(*command)
    assert code == 0, f"{' '.join(map(str, command))}: {code}\n{out}{err}"
    return out


def load(text):
    return [document for document in yaml.safe_load_all(text) if document]


def overlays(owner, place, url="postgres://sidecloak:x@db.example/sidecloak", pinned="ab" * 32):
    """A copy of the overlays with the owner's files; rendered."""
    copy = pathlib.Path(place)
    for part in ["base", "overlays"]:
        shutil.copytree(KUBERNETES / part, copy / part, ignore=shutil.ignore_patterns("secrets", "jwks.json", "ca.crt", "owner.env"))
    fleet = copy / "overlays/fleet"
    made = {
        copy / "overlays/single/secrets/master.key": owner.master_key,
        fleet / "authority/secrets/master.key": owner.master_key,
        fleet / "authority/secrets/postgres.url": url,
        copy / "overlays/single-to-fleet/secrets/postgres.url": url,
        fleet / "authority/secrets/tls.crt": owner.certificate,
        fleet / "authority/secrets/tls.key": owner.key,
        fleet / "authority/jwks.json": owner.key_set(),
        fleet / "ca.crt": owner.certificate,
        fleet / "owner.env": f"owner={pinned}\n",
    }
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    kustomize = lambda name: load(must(TOOLS / "kubectl", "kustomize", copy / "overlays" / name))
    return [
        Case("overlays/single", kustomize("single")),
        Case("overlays/single-to-fleet", kustomize("single-to-fleet"), {"Secret/sidecloak-keys", "PersistentVolumeClaim/sidecloak-keyring"}),
        Case("overlays/fleet/authority", kustomize("fleet/authority")),
        Case("overlays/fleet", kustomize("fleet")),
        Case("overlays/fleet/cert-manager", kustomize("fleet/cert-manager")),
    ]


def template(chart, *arguments, name="rel", namespace="sidecloak"):
    return run(TOOLS / "helm", "template", name, chart, "--namespace", namespace, "--kube-version", "1.30", *arguments)


# What the values of a case say is there already, as `Kind/name`.
GIVEN = {
    "authority": {"Secret/sidecloak-keys", "Secret/sidecloak-postgres", "Secret/sidecloak-authority-tls", "ConfigMap/sidecloak-jwks"},
    "gateway": {"Secret/sidecloak-keys"},
    "gateway-of-a-fleet": {"ConfigMap/sidecloak-ca", "ConfigMap/customers-rules", "Secret/customers-tls"},
}


def charts(place):
    """The chart with each of its values for CI, and as a dependency of another chart."""
    cases = []
    for name, path in CI.items():
        code, out, err = template(CHART, "-f", path)
        assert code == 0, f"{name}: {err}"
        cases.append(Case(f"chart {name}", load(out), GIVEN[name], "sidecloak"))
    parent = pathlib.Path(place) / "parent"
    shutil.copytree(PARENT, parent)
    (parent / "charts").mkdir()
    shutil.copytree(CHART, parent / "charts/sidecloak")
    for name in ["sqlite", "authority"]:
        code, out, err = template(parent, "-f", parent / f"{name}-values.yaml", name="shop", namespace="shop")
        assert code == 0, f"parent {name}: {err}"
        cases.append(Case(f"chart in another, {name}", load(out), {"Secret/sidecloak-keys", "ConfigMap/sidecloak-ca"}, "shop"))
    return cases


def examples():
    """The examples of this folder; the Pod of examples/pod.yaml is another's and is tested there."""
    paths = [path for path in sorted((KUBERNETES / "examples").glob("*.yaml")) if path.name != "pod.yaml"]
    assert paths
    return [Case(f"examples/{path.name}", load(path.read_text()), {"ConfigMap/sidecloak-fleet"}) for path in paths]


def everything(owner, place):
    place = pathlib.Path(place)
    for part in ["overlays", "charts"]:
        (place / part).mkdir()
    return overlays(owner, place / "overlays") + charts(place / "charts") + examples()
