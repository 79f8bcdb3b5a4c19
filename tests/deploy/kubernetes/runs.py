"""The pods of the overlays and of the chart, run: what the README promises of them holds."""

import base64
import json
import pathlib
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import pods
import rendered
from findings import Workload

CUSTOMER = {"name": "Kim", "ssn": "123-45-6789"}


def main(owner, place, binary, url):
    place = pathlib.Path(place)
    sealed = single(owner, place / "single", binary)
    chart_gateway(owner, place / "gateway", binary)
    if url:
        migrated(owner, place / "migration", binary, url, place / "single/pod/sidecloak-keyring")
        fleet(owner, place / "fleet", binary, url, sealed)
    else:
        print("without a database: the fleet was not run")


def deployment(case, name=None):
    things = (o for o in case.objects if o["kind"] == "Deployment" and name in (None, o["metadata"]["name"]))
    return Workload(next(things))


def single(owner, place, binary):
    """A keyring is made once; the app stores tokens; an edit of the rules is taken up; a new pod opens what the old one sealed."""
    place.mkdir()
    case = next(c for c in rendered.overlays(owner, place / "kustomize") if c.name == "overlays/single")
    ports = {port: pods.free_port() for port in [15080, 8080, 9902]}
    with pods.Pod(deployment(case), case, {}, place / "pod", binary, ports) as pod:
        init, app = pod.work.first[0], pod.work.regular[0]
        done = pod.once(init)
        assert done.returncode == 0 and "made keyring" in done.stdout, done
        again = pod.once(init)
        assert again.returncode == 0 and "made" not in again.stdout, again
        for _ in range(2):
            started = pod.start(pod.work.sidecar)
            pod.ready(pod.work.sidecar)
            pod.ready(pod.work.sidecar, "readinessProbe")
            pod.ready(pod.work.sidecar, "livenessProbe")
            pod.start(app)
            through, behind = (f"http://127.0.0.1:{ports[port]}/customers/" for port in [15080, 8080])
            pods.until("the application answers", lambda: pods.ask("GET", behind)[0] == 404)
            sealed = seals(through, behind, "7")
            edited(pod, through, behind)
            health = pod.once(pod.work.sidecar, ["health"])
            assert health.returncode == 0, health
            listed = pod.once(pod.work.sidecar, ["keys", "list"])
            assert listed.returncode == 0 and listed.stdout.startswith("owner "), listed
            recovery = place / f"recovery{len(list(place.iterdir()))}.pub"
            made = pod.once(pod.work.sidecar, ["keys", "recovery", "-o", str(recovery)])
            assert made.returncode == 0 and recovery.exists(), made
            codes = pod.stop()
            assert codes["sidecloak"] == 0, (codes, pod.log(pod.work.sidecar))
            assert started.poll() == 0
            assert pod.once(init).returncode == 0
        print("overlays/single: sealed, edited, restarted")
        return sealed


def seals(through, behind, number):
    status, body = pods.ask("PUT", through + number, CUSTOMER)
    assert (status, json.loads(body)) == (200, CUSTOMER), (status, body)
    stored = json.loads(pods.ask("GET", behind + number)[1])
    assert stored["ssn"].startswith("sc1.") and stored["name"] == "Kim", stored
    assert json.loads(pods.ask("GET", through + number)[1]) == CUSTOMER
    return stored


def edited(pod, through, behind):
    """From `enforce` to `observe` by an edit of the ConfigMap, and back, without a restart."""
    def stored_as_it_is():
        pods.ask("PUT", through + "8", CUSTOMER)
        return json.loads(pods.ask("GET", behind + "8")[1]) == CUSTOMER

    assert not stored_as_it_is()
    pod.edit("sidecloak-rules", "rules.yaml", lambda text: text.replace("mode: enforce", "mode: observe"))
    pods.until("the edit is taken up", stored_as_it_is)
    pod.edit("sidecloak-rules", "rules.yaml", lambda text: text.replace("mode: observe", "mode: enforce"))
    pods.until("the edit is undone", lambda: not stored_as_it_is())


def chart_gateway(owner, place, binary):
    """The chart's gateway with SQLite, and its `helm test`."""
    place.mkdir()
    code, out, err = rendered.template(rendered.CHART, "-f", rendered.CI["gateway"], "--set", "gateway.rules[0].mode=enforce,gateway.rules[0].always_length=1048576")
    assert code == 0, err
    case = rendered.Case("gateway", rendered.load(out))
    ports = {port: pods.free_port() for port in [15080, 80, 9902]}
    given = {"Secret/sidecloak-keys": {"master.key": owner.master_key}}
    hosts = {"customers.shop.svc": "127.0.0.1", "rel-sidecloak-gateway-probe.sidecloak.svc": "localhost"}
    app = next(c for c in rendered.overlays(owner, place / "kustomize") if c.name == "overlays/single")
    test = Workload(next(o for o in case.objects if o["kind"] == "Pod"))
    with (
        pods.Pod(deployment(app), app, {}, place / "app", binary, {8080: ports[80]}) as application,
        pods.Pod(deployment(case), case, given, place / "pod", binary, ports, hosts) as gateway,
        pods.Pod(test, case, given, place / "test", binary, ports, hosts) as asking,
    ):
        application.start(application.work.regular[0])
        assert asking.once(test.regular[0], shorter(test.regular[0])).returncode == 1, "nobody is there yet"
        assert gateway.once(gateway.work.first[0]).returncode == 0
        gateway.start(gateway.work.proxy)
        gateway.ready(gateway.work.proxy)
        through, behind = (f"http://127.0.0.1:{ports[port]}/customers/" for port in [15080, 80])
        pods.until("the application answers", lambda: pods.ask("GET", behind)[0] == 404)
        seals(through, behind, "7")
        done = asking.once(test.regular[0])
        assert done.returncode == 0, done
    print("chart, gateway: sealed, `helm test` passed")


def shorter(container):
    return ["1" if part == "30" else part for part in container["args"]]


def migrated(owner, place, binary, url, volume):
    """The Job moves the keyring of overlays/single to an empty database, once."""
    place.mkdir()
    case = next(c for c in rendered.overlays(owner, place / "kustomize", url) if c.name == "overlays/single-to-fleet")
    job = Workload(next(o for o in case.objects if o["kind"] == "Job"))
    given = {"Secret/sidecloak-keys": {"master.key": owner.master_key}}
    with pods.Pod(job, case, given, place / "pod", binary, claims={"sidecloak-keyring": volume}) as pod:
        done = pod.once(job.regular[0])
        assert done.returncode == 0, done
        assert pod.once(job.regular[0]).returncode != 0, "the database is not empty any more"
    print("overlays/single-to-fleet: the keyring moved to PostgreSQL")


def fleet(owner, place, binary, url, sealed):
    """The Job leaves the keyring that is on PostgreSQL; a sidecar comes in by its service account's token, and another one does not."""
    place.mkdir()
    cases = {c.name: c for c in rendered.overlays(owner, place / "first", url)}
    ports = {port: pods.free_port() for port in [8440, 9902]}
    case = cases["overlays/fleet/authority"]
    job = Workload(next(o for o in case.objects if o["kind"] == "Job"))
    with (
        pods.Pod(job, case, {}, place / "job", binary) as making,
        pods.Pod(deployment(case), case, {}, place / "authority", binary, ports) as authority,
    ):
        done = making.once(job.regular[0])
        assert done.returncode == 0 and "made" not in done.stdout, done
        authority.start(authority.work.proxy)
        authority.ready(authority.work.proxy)
        listed = authority.once(authority.work.proxy, ["keys", "list"])
        pinned = next(line.split()[1] for line in listed.stdout.splitlines() if line.startswith("owner "))
        case = next(c for c in rendered.overlays(owner, place / "second", url, pinned) if c.name == "overlays/fleet")
        sidecars(owner, place, binary, case, ports[8440], sealed)
        outbound(owner, place, binary, ports[8440], pinned)
        codes = authority.stop()
        assert codes == {"sidecloak": 0}, codes
    print("overlays/fleet: an authority on PostgreSQL, two sidecars with tokens of their service account, one without")


def sidecars(owner, place, binary, case, authority, sealed):
    hosts = {f"{rendered.AUTHORITY}:8440": f"localhost:{authority}"}
    ports = [{15080: pods.free_port(), 8080: pods.free_port(), 9902: pods.free_port()} for _ in range(3)]
    right, wrong = (token(owner, f"system:serviceaccount:shop:{name}") for name in ["customers", "other"])
    with (
        pods.Pod(deployment(case), case, {}, place / "a", binary, ports[0], hosts, right) as a,
        pods.Pod(deployment(case), case, {}, place / "b", binary, {**ports[1], 8080: ports[0][8080]}, hosts, right) as b,
        pods.Pod(deployment(case), case, {}, place / "c", binary, ports[2], hosts, wrong) as c,
    ):
        a.start(a.work.regular[0])
        for pod in [a, b]:
            pod.start(pod.work.sidecar)
            pod.ready(pod.work.sidecar)
        through, behind = (f"http://127.0.0.1:{ports[0][port]}/customers/" for port in [15080, 8080])
        pods.until("the application answers", lambda: pods.ask("GET", behind)[0] == 404)
        seals(through, behind, "7")
        pods.ask("PUT", behind + "1", sealed)
        assert json.loads(pods.ask("GET", through + "1")[1]) == CUSTOMER, "what overlays/single sealed the fleet opens"
        other = f"http://127.0.0.1:{ports[1][15080]}/customers/7"
        assert json.loads(pods.ask("GET", other)[1]) == CUSTOMER, "what one sidecar sealed the other opens"
        taken, refused = (pod.once(pod.work.sidecar, ["check", "--json"]) for pod in [a, c])
        assert taken.returncode == 0, taken
        assert refused.returncode != 0 and "does not take this process's credential" in refused.stdout, refused
        assert "master_key" not in json.dumps(a.known["ConfigMap/" + config_name(a)]), "sidecars have no master key"


def outbound(owner, place, binary, authority, pinned):
    """The application stores tokens and sends them to a partner, who gets values, and whose values it gets as tokens."""
    case = next(c for c in rendered.examples() if c.name == "examples/outbound.yaml")
    app = next(c for c in rendered.overlays(owner, place / "apps") if c.name == "overlays/single")
    ports = {port: pods.free_port() for port in [15080, 15081, 8080, 9902]}
    partner = pods.free_port()
    hosts = {f"{rendered.AUTHORITY}:8440": f"localhost:{authority}", "https://api.partner.example": f"http://127.0.0.1:{partner}"}
    given = {"ConfigMap/sidecloak-fleet": {"owner": pinned, "ca.crt": owner.certificate}}
    its = token(owner, "system:serviceaccount:shop:customers")
    with (
        pods.Pod(deployment(app), app, {}, place / "billing", binary, {8080: ports[8080]}) as application,
        pods.Pod(deployment(app), app, {}, place / "partner", binary, {8080: partner}) as other,
        pods.Pod(deployment(case), case, given, place / "outbound", binary, ports, hosts, its) as pod,
    ):
        for each in [application, other]:
            each.start(each.work.regular[0])
        pod.start(pod.work.sidecar)
        pod.ready(pod.work.sidecar)
        at = lambda port, path: f"http://127.0.0.1:{port}{path}"
        for port in [ports[8080], partner]:
            pods.until("the application answers", lambda port=port: pods.ask("GET", at(port, "/healthz"))[0] == 200)
        sealed = seals(at(ports[15080], "/invoices/"), at(ports[8080], "/invoices/"), "1")["ssn"]
        status, answer = pods.ask("PUT", at(ports[15081], "/v1/checks/1"), {"subject": {"ssn": sealed}})
        assert status == 200 and json.loads(answer)["subject"]["ssn"].startswith("sc1."), answer
        assert json.loads(pods.ask("GET", at(partner, "/v1/checks/1"))[1]) == {"subject": {"ssn": CUSTOMER["ssn"]}}
    print("examples/outbound.yaml: the partner got the value, the application tokens")


def config_name(pod):
    return next(name.split("/")[1] for name in pod.known if name.startswith("ConfigMap/sidecloak-config"))


def token(owner, subject):
    """A service account's token, as an API server signs it."""
    now = int(time.time())
    part = lambda thing: base64.urlsafe_b64encode(json.dumps(thing).encode()).decode().rstrip("=")
    issuer = "https://kubernetes.default.svc.cluster.local"
    claims = {"iss": issuer, "aud": ["sidecloak"], "sub": subject, "iat": now, "nbf": now, "exp": now + 3600}
    signed = f"{part({'alg': 'ES256', 'kid': 'cluster', 'typ': 'JWT'})}.{part(claims)}"
    r, s = utils.decode_dss_signature(owner.issuer.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{base64.urlsafe_b64encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big')).decode().rstrip('=')}"
