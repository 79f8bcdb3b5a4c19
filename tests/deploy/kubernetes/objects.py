"""The findings of `findings.py`: none in what we ship, and each one in what is broken that way."""

import copy
import subprocess

import rendered
from findings import findings, secrets_in


def main(owner, place, *_):
    cases = {case.name: case for case in rendered.everything(owner, place)}
    found = [f"{case.name}: {text}" for case in cases.values() for text in findings(case)]
    assert not found, "\n".join(found)
    for name, change, expected in BROKEN:
        case = copy.deepcopy(cases[name])
        change(case)
        found = findings(case)
        assert any(expected in text for text in found), f"not found in {name}: {expected}; found instead: {found}"
    no_key_is_in_the_repository()
    print(f"{len(cases)} sets of objects without a finding; {len(BROKEN)} broken ones found")


def no_key_is_in_the_repository():
    files = subprocess.run(["git", "ls-files", "-z", "deploy/kubernetes"], cwd=rendered.REPOSITORY, capture_output=True, text=True)
    if files.returncode:
        return  # a copy without its history
    for name in filter(None, files.stdout.split("\0")):
        path = rendered.REPOSITORY / name
        assert "/secrets/" not in name, name
        assert not path.exists() or not secrets_in(path.read_text()), f"{name} has a key in it"
    assert secrets_in("-----BEGIN PRIVATE KEY-----") and secrets_in("x\n" + "m" * 43 + "\n")


def one(case, kind, name=None):
    return next(o for o in case.objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))


def pod(case, name=None):
    return one(case, "Deployment", name)["spec"]["template"]["spec"]


def sidecar(case):
    return pod(case)["initContainers"][-1]


def app(case):
    return pod(case)["containers"][0]


def remove(case, kind, prefix=""):
    case.objects = [o for o in case.objects if not (o["kind"] == kind and o["metadata"]["name"].startswith(prefix))]


def edit(case, prefix, old, new):
    data = next(o for o in case.objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].startswith(prefix))["data"]
    assert old in data["sidecloak.yaml"]
    data["sidecloak.yaml"] = data["sidecloak.yaml"].replace(old, new)


SINGLE, FLEET, AUTHORITY = "overlays/single", "overlays/fleet", "overlays/fleet/authority"
NAMED, VARIABLE, OUTBOUND, LINKERD = (f"examples/{n}.yaml" for n in ["inbound-named-port", "inbound-port-variable", "outbound", "linkerd"])
CHART = "chart authority"

BROKEN = [
    (SINGLE, lambda c: sidecar(c)["securityContext"].pop("runAsNonRoot") and pod(c)["securityContext"].pop("runAsNonRoot"), "may run as root"),
    (SINGLE, lambda c: app(c)["securityContext"].update(runAsUser=0), "app may run as root"),
    (SINGLE, lambda c: app(c)["securityContext"].update(allowPrivilegeEscalation=True), "may gain privileges"),
    (SINGLE, lambda c: app(c)["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), "has capabilities"),
    (SINGLE, lambda c: app(c)["securityContext"].update(readOnlyRootFilesystem=False), "may write its root"),
    (SINGLE, lambda c: [s.pop("seccompProfile") for s in (pod(c)["securityContext"], sidecar(c)["securityContext"])], "no seccomp profile"),
    (SINGLE, lambda c: pod(c).update(hostNetwork=True), "hostNetwork is on"),
    (SINGLE, lambda c: pod(c).update(shareProcessNamespace=True), "shareProcessNamespace is on"),
    (SINGLE, lambda c: pod(c)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "a volume of kind hostPath"),
    (SINGLE, lambda c: pod(c).pop("automountServiceAccountToken"), "token is mounted"),
    (SINGLE, lambda c: sidecar(c).pop("resources"), "no requests of cpu and memory"),
    (SINGLE, lambda c: app(c)["ports"][0].update(hostPort=80), "a port of the host"),
    (SINGLE, lambda c: sidecar(c).pop("restartPolicy"), "is no native one"),
    (SINGLE, lambda c: sidecar(c).update(lifecycle={"preStop": {"sleep": {"seconds": 5}}}), "the sidecar has a hook"),
    (SINGLE, lambda c: pod(c)["initContainers"].reverse(), "does not come last"),
    (SINGLE, lambda c: sidecar(c)["livenessProbe"]["httpGet"].update(port=15080), "livenessProbe does not ask"),
    (SINGLE, lambda c: sidecar(c)["startupProbe"]["httpGet"].update(path="/livez"), "startupProbe does not ask"),
    (SINGLE, lambda c: sidecar(c).pop("readinessProbe"), "readinessProbe does not ask"),
    (SINGLE, lambda c: sidecar(c).update(image="sidecloak:latest"), "runs sidecloak:latest"),
    (SINGLE, lambda c: sidecar(c).update(command=["/bin/sh"]), "entry point"),
    (SINGLE, lambda c: sidecar(c)["securityContext"].update(runAsUser=1000), "another user than the image's"),
    (SINGLE, lambda c: app(c).pop("lifecycle"), "does not sleep before it ends"),
    (SINGLE, lambda c: pod(c).update(terminationGracePeriodSeconds=15), "killed before the application"),
    (SINGLE, lambda c: app(c)["volumeMounts"].append({"name": "sidecloak-secrets", "mountPath": "/k"}), "sees the sidecar's secrets"),
    (SINGLE, lambda c: app(c)["volumeMounts"].append({"name": "sidecloak-keyring", "mountPath": "/k"}), "sees the sidecar's secrets"),
    (SINGLE, lambda c: one(c, "Deployment")["spec"].update(replicas=2), "several replicas have one SQLite file"),
    (SINGLE, lambda c: one(c, "Deployment")["spec"].update(strategy={"type": "RollingUpdate"}), "before the old one has left"),
    (SINGLE, lambda c: sidecar(c)["volumeMounts"][1].update(subPath="sidecloak.yaml"), "never sees an edit"),
    (SINGLE, lambda c: sidecar(c)["volumeMounts"].append({"name": "nope", "mountPath": "/x"}), "mounts nope"),
    (SINGLE, lambda c: pod(c)["volumes"].append({"name": "idle", "emptyDir": {}}), "nobody mounts idle"),
    (SINGLE, lambda c: pod(c)["volumes"][0]["secret"].pop("defaultMode"), "every user may read sidecloak-secrets"),
    (SINGLE, lambda c: pod(c)["securityContext"].pop("fsGroup"), "there is no fsGroup"),
    (SINGLE, lambda c: app(c)["ports"][1].update(name="http"), "two ports have one name"),
    (SINGLE, lambda c: sidecar(c)["ports"].append({"name": "proxy", "containerPort": 15080}), "a port is declared twice"),
    (SINGLE, lambda c: remove(c, "Secret"), "there is no Secret/sidecloak-keys"),
    (SINGLE, lambda c: remove(c, "ConfigMap", "sidecloak-rules"), "there is no ConfigMap/sidecloak-rules"),
    (SINGLE, lambda c: remove(c, "PersistentVolumeClaim"), "there is no PersistentVolumeClaim"),
    (SINGLE, lambda c: remove(c, "NetworkPolicy"), "no NetworkPolicy selects its pods"),
    (SINGLE, lambda c: c.objects.append(copy.deepcopy(c.objects[0])), "two objects have one name"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"][0]["ports"].append({"port": 8080}), "opens port 8080, past the sidecar"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"][0].pop("ports"), "opens all ports"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"].append({}), "opens all ports"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"][0]["ports"].append({"port": 1, "endPort": 9000}), "otherwise than by its number"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"][1].pop("from"), "opens the probe to everybody"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"].pop(), "no policy lets Prometheus in"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"]["ingress"].pop(0), "closes the proxy's port"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"].update(policyTypes=["Egress"]), "no NetworkPolicy selects its pods"),
    (SINGLE, lambda c: one(c, "NetworkPolicy")["spec"].update(podSelector={"matchLabels": {"a": "b"}}), "selects no pods"),
    (SINGLE, lambda c: one(c, "Service")["spec"]["ports"][0].update(targetPort="app"), "leads past the sidecar"),
    (SINGLE, lambda c: one(c, "Service")["spec"]["ports"][0].update(targetPort="web"), "leads nowhere"),
    (SINGLE, lambda c: app(c)["ports"].pop(0), "leads nowhere"),
    (SINGLE, lambda c: one(c, "Service")["spec"].update(selector={"a": "b"}), "selects 0 workloads"),
    (SINGLE, lambda c: one(c, "Deployment")["spec"].update(selector={"matchLabels": {"a": "b"}}), "does not select its own pods"),
    (SINGLE, lambda c: one(c, "Namespace")["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}), "does not enforce"),
    (SINGLE, lambda c: one(c, "Service")["metadata"].pop("namespace"), "has no namespace"),
    (SINGLE, lambda c: edit(c, "sidecloak-config", "0.0.0.0:9902", "127.0.0.1:9902"), "not where the kubelet asks"),
    (SINGLE, lambda c: edit(c, "sidecloak-config", ":15080", ":15081"), "a port that the pod does not declare"),
    (SINGLE, lambda c: edit(c, "sidecloak-config", "127.0.0.1:8080", "127.0.0.1:8081"), "no port of the application"),
    (FLEET, lambda c: remove(c, "ConfigMap", "sidecloak-owner"), "there is no ConfigMap/sidecloak-owner"),
    (FLEET, lambda c: remove(c, "ServiceAccount"), "there is no ServiceAccount/customers"),
    (FLEET, lambda c: one(c, "ServiceAccount").update(automountServiceAccountToken=True), "its token is mounted unless"),
    (FLEET, lambda c: one(c, "Deployment")["spec"]["template"]["metadata"]["labels"].pop("sidecloak.dev/sidecar"), "has no label sidecloak.dev/sidecar"),
    (FLEET, lambda c: one(c, "Deployment")["spec"].update(replicas=1), "lets no node be drained"),
    (FLEET, lambda c: one(c, "PodDisruptionBudget")["spec"].update(selector={"matchLabels": {"a": "b"}}), "is about 0 workloads"),
    (AUTHORITY, lambda c: pod(c)["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"].update(key="uri"), "has no key uri"),
    (AUTHORITY, lambda c: one(c, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="x"), "scales what is not there"),
    (AUTHORITY, lambda c: one(c, "HorizontalPodAutoscaler")["spec"].update(minReplicas=1), "keeps fewer than two"),
    (AUTHORITY, lambda c: one(c, "Deployment")["spec"].update(replicas=2), "is undone by each apply"),
    (AUTHORITY, lambda c: pod(c).pop("terminationGracePeriodSeconds") and pod(c).update(terminationGracePeriodSeconds=20), "before it has drained"),
    (AUTHORITY, lambda c: edit(c, "sidecloak-authority-config", ":8440", ":8441"), "the authority listens at a port"),
    (AUTHORITY, lambda c: remove(c, "ConfigMap", "sidecloak-authority-config"), "has no sidecloak.yaml"),
    ("overlays/fleet/cert-manager", lambda c: one(c, "Certificate", "sidecloak-authority")["spec"].update(dnsNames=["x"]), "is not for the name"),
    (CHART, lambda c: remove(c, "HorizontalPodAutoscaler"), "lets no node be drained"),
    (NAMED, lambda c: app(c)["ports"][0].update(containerPort=8080), "leads past the sidecar"),
    (VARIABLE, lambda c: one(c, "Service")["spec"]["ports"][0].update(targetPort=18080), "leads past the sidecar"),
    (OUTBOUND, lambda c: edit(c, "billing-sidecloak", "127.0.0.1:15081", "0.0.0.0:15081"), "can be reached from other pods"),
    (LINKERD, lambda c: remove(c, "Server"), "opens port 4143, past the sidecar"),
]
