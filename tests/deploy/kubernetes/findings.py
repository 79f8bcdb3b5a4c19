"""What is wrong with objects that are applied together, beyond what their schemas say: a list of sentences, empty if all is well."""

import re

import yaml

PROBE = 9902
IMAGE = "sidecloak:0.1.0"
# Kinds of others, of which there is no schema here.
FOREIGN = {"cert-manager.io/v1", "security.istio.io/v1", "policy.linkerd.io/v1beta3"}
PROBES = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


class Workload:
    """An object with pods: their labels and their spec."""

    def __init__(self, thing):
        self.object, self.kind, self.name = thing, thing["kind"], thing["metadata"]["name"]
        template = thing if self.kind == "Pod" else thing["spec"]["template"]
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.first = self.spec.get("initContainers", [])
        self.regular = self.spec["containers"]
        self.containers = self.first + self.regular
        self.sidecar = next((c for c in self.first if c["name"] == "sidecloak"), None)
        self.proxy = self.sidecar or next((c for c in self.regular if c["name"] == "sidecloak" and self.kind != "Job"), None)

    def __str__(self):
        return f"{self.kind}/{self.name}"

    def is_selected(self, selector):
        labels = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
        return bool(labels) and labels.items() <= self.labels.items()


def findings(case):
    found = []
    workloads = [Workload(o) for o in case.objects if o["kind"] in ("Deployment", "StatefulSet", "Job", "Pod")]
    known = {f"{o['kind']}/{o['metadata']['name']}": o for o in case.objects}
    if len(known) != len(case.objects):
        found.append("two objects have one name")
    for work in workloads:
        say = lambda text, work=work: found.append(f"{work}: {text}")
        restricted(work, say)
        mounts(work, say)
        references(work, known, case.given, say)
        own_containers(work, say)
        beside_the_sidecar(work, say)
        one_process_of_sqlite(work, say)
        configuration(work, known, say)
        behind_a_policy(work, case, known, say)
    selectors(case, workloads, known, found)
    return found


def restricted(work, say):
    """The Pod Security Standard `restricted`, and what a sidecar with keys wants besides."""
    spec, pod = work.spec, work.spec.get("securityContext", {})
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"]:
        if spec.get(key):
            say(f"{key} is on")
    if spec.get("automountServiceAccountToken") is not False:
        say("the service account's token is mounted")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        for kind in set(volume) - {"name"} - allowed:
            say(f"a volume of kind {kind}")
    for container in work.containers:
        name, own = container["name"], container.get("securityContext", {})
        both = {**pod, **own}
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            say(f"{name} may run as root")
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            say(f"{name} has no seccomp profile")
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            say(f"{name} may gain privileges")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or set(own["capabilities"].get("add", [])) - {"NET_BIND_SERVICE"}:
            say(f"{name} has capabilities")
        if own.get("readOnlyRootFilesystem") is not True:
            say(f"{name} may write its root")
        if any("hostPort" in port for port in container.get("ports", [])):
            say(f"{name} has a port of the host")
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
            say(f"{name} has no requests of cpu and memory, or no limit of memory")


def mounts(work, say):
    volumes = [volume["name"] for volume in work.spec.get("volumes", [])]
    used = set()
    if len(volumes) != len(set(volumes)):
        say("two volumes have one name")
    for container in work.containers:
        for mount in container.get("volumeMounts", []):
            used.add(mount["name"])
            if mount["name"] not in volumes:
                say(f"{container['name']} mounts {mount['name']}, which is not there")
            if "subPath" in mount:
                say(f"{container['name']} mounts {mount['name']} by subPath, and never sees an edit")
    for volume in set(volumes) - used:
        say(f"nobody mounts {volume}")
    for volume in work.spec.get("volumes", []):
        sources = volume.get("projected", {}).get("sources", [])
        secret = "secret" in volume or any("secret" in s or "serviceAccountToken" in s for s in sources)
        mode = volume.get("secret", volume.get("projected", {})).get("defaultMode", 0o644)
        if secret and mode & 0o007:
            say(f"every user may read {volume['name']}: its defaultMode is {mode:04o}")
        if secret and not work.spec["securityContext"].get("fsGroup"):
            say(f"nobody may read {volume['name']}: there is no fsGroup")
    ports = [port["name"] for container in work.regular for port in container.get("ports", [])]
    if len(ports) != len(set(ports)):
        say("two ports have one name")
    numbers = [port["containerPort"] for container in work.containers for port in container.get("ports", [])]
    if len(numbers) != len(set(numbers)):
        say("a port is declared twice, of which the API server warns")


def sources(spec):
    """(kind, name, keys, optional) of all that a pod takes from ConfigMaps, Secrets, claims and accounts."""
    for volume in spec.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", [volume]):
            for kind, key, name in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "name")]:
                if key in source:
                    it = source[key]
                    keys = [item["key"] for item in it.get("items", [])]
                    yield kind, it.get(name) or it.get("secretName"), keys, it.get("optional", False)
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], [], False
    for container in spec.get("initContainers", []) + spec["containers"]:
        for variable in container.get("env", []):
            for key, kind in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")]:
                if it := variable.get("valueFrom", {}).get(key):
                    yield kind, it["name"], [it["key"]], it.get("optional", False)
    if "serviceAccountName" in spec:
        yield "ServiceAccount", spec["serviceAccountName"], [], False


def references(work, known, given, say):
    for kind, name, keys, optional in sources(work.spec):
        named = f"{kind}/{name}"
        if named in known:
            thing = known[named]
            has = {**thing.get("data", {}), **thing.get("stringData", {})}
            for key in keys:
                if key not in has and not optional:
                    say(f"{named} has no key {key}")
        elif named not in given:
            say(f"there is no {named}")


def own_containers(work, say):
    """Containers of our image."""
    for container in work.containers:
        name = container["name"]
        ours = name.startswith("sidecloak") or name == "health"
        if ours != (container["image"] == IMAGE):
            say(f"{name} runs {container['image']}")
        if ours and container["securityContext"].get("runAsUser") != 65532:
            say(f"{name} runs as another user than the image's")
        if ours and "command" in container:
            say(f"{name} replaces the image's entry point")
    proxy = work.proxy
    if not proxy:
        return
    if "lifecycle" in proxy:
        say("the sidecar has a hook: a native sidecar ends after the application, others drain by themselves")
    named = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    if named.get("probe") != PROBE:
        say(f"the port `probe` is {named.get('probe')}")
    for probe, path in PROBES.items():
        get = proxy.get(probe, {}).get("httpGet", {})
        if get.get("path") != path or get.get("port") not in ("probe", PROBE):
            say(f"{probe} does not ask {path} at the probe's port")
    if work.sidecar and work.sidecar.get("restartPolicy") != "Always":
        say("the sidecar is no native one: restartPolicy is not Always")
    if work.sidecar and work.first[-1] is not work.sidecar:
        say("the sidecar does not come last of the init containers")
    for container in work.first:
        if container is not work.sidecar and "restartPolicy" in container:
            say(f"{container['name']} never ends")
    if not work.sidecar and work.spec.get("terminationGracePeriodSeconds", 30) <= 25:
        say("is killed before it has drained")


def beside_the_sidecar(work, say):
    if not work.sidecar:
        return
    if work.labels.get("sidecloak.dev/sidecar") != "true":
        say("has no label sidecloak.dev/sidecar, by which the authority's policy knows it")
    secret = {m["name"] for m in work.sidecar["volumeMounts"] if m["mountPath"].startswith(("/run/secrets", "/var/lib"))}
    for container in work.regular:
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if not sleep:
            say(f"{container['name']} does not sleep before it ends")
        if work.spec.get("terminationGracePeriodSeconds", 30) < sleep + 5 + 5:
            say("is killed before the application and the sidecar have ended")
        if secret & {mount["name"] for mount in container.get("volumeMounts", [])}:
            say(f"{container['name']} sees the sidecar's secrets")


def one_process_of_sqlite(work, say):
    if not any(m["mountPath"] == "/var/lib/sidecloak" for c in work.containers for m in c.get("volumeMounts", [])):
        return
    if work.kind == "Job":
        return
    if work.object["spec"].get("replicas", 1) != 1:
        say("several replicas have one SQLite file")
    if work.object["spec"].get("strategy", {}).get("type") != "Recreate":
        say("a new pod begins before the old one has left the SQLite file")


def text_of(work, container, known, path):
    """The text of a file in a container, as its ConfigMaps have it."""
    for mount in container.get("volumeMounts", []):
        if not path.startswith(mount["mountPath"] + "/"):
            continue
        key = path.removeprefix(mount["mountPath"] + "/")
        volume = next(v for v in work.spec["volumes"] if v["name"] == mount["name"])
        for source in volume.get("projected", {}).get("sources", [volume]):
            thing = known.get(f"ConfigMap/{source.get('configMap', {}).get('name')}", {})
            if key in thing.get("data", {}):
                return thing["data"][key]
    return None


def listening(work, known):
    """The sidecloak.yaml of a workload's proxy, or None."""
    text = work.proxy and text_of(work, work.proxy, known, "/etc/sidecloak/sidecloak.yaml")
    return yaml.safe_load(text) if text else None


def port_of(address):
    return int(str(address).rstrip("/").rsplit(":", 1)[1])


def configuration(work, known, say):
    """Ports of sidecloak.yaml are those of the pod."""
    if not work.proxy:
        return
    config = listening(work, known)
    if config is None:
        say("the sidecar has no sidecloak.yaml")
        return
    declared = {port["containerPort"] for container in work.containers for port in container.get("ports", [])}
    if port_of(config["probe"]["bind"]) != PROBE or config["probe"]["bind"].startswith("127."):
        say("the probe of sidecloak.yaml is not where the kubelet asks")
    if work.proxy["args"] == ["authority"]:
        if port_of(config["authority"]["bind"]) not in declared:
            say("the authority listens at a port that the pod does not declare")
        return
    front = config["listeners"][0]
    if port_of(front["bind"]) not in declared:
        say("listens at a port that the pod does not declare")
    if work.sidecar and port_of(front["upstream"]) not in {p["containerPort"] for c in work.regular for p in c.get("ports", [])}:
        say("the upstream is no port of the application")
    for listener in config["listeners"][1:]:
        if not listener["bind"].startswith("127.0.0.1:"):
            say(f"the outbound listener {listener['name']} can be reached from other pods")


def behind_a_policy(work, case, known, say):
    """A policy leaves the proxy's port open and closes the application's."""
    if not work.proxy:
        return
    policies = [o["spec"] for o in case.objects if o["kind"] == "NetworkPolicy" and work.is_selected(o["spec"]["podSelector"])]
    policies = [spec for spec in policies if "Ingress" in spec.get("policyTypes", [])]
    if not policies:
        say("no NetworkPolicy selects its pods")
        return
    opened, scraped = set(), False
    for rule in [rule for spec in policies for rule in spec.get("ingress", [])]:
        if not rule.get("ports"):
            say("a policy opens all ports")
        for port in rule.get("ports", []):
            if not isinstance(port.get("port"), int) or "endPort" in port:
                say("a policy names a port otherwise than by its number")
                continue
            opened.add(port["port"])
            if port["port"] == PROBE:
                scraped = True
                if not rule.get("from"):
                    say("a policy opens the probe to everybody")
    if not scraped:
        say("no policy lets Prometheus in")
    config = listening(work, known) or {}
    own = {port_of(listener["bind"]) for listener in config.get("listeners", [])[:1]} or {8440}
    if not own <= opened:
        say("a policy closes the proxy's port")
    if work.sidecar:
        mesh = {4143} if any("linkerd" in o["apiVersion"] for o in case.objects) else set()
        for port in opened - own - {PROBE} - mesh:
            say(f"a policy opens port {port}, past the sidecar")


def target(work, port):
    """The pod's port behind a port of a Service, as Kubernetes before 1.32 finds it: not in init containers."""
    wanted = port.get("targetPort", port["port"])
    if isinstance(wanted, int):
        return wanted
    return next((p["containerPort"] for c in work.regular for p in c.get("ports", []) if p.get("name") == wanted), None)


def selectors(case, workloads, known, found):
    for thing in case.objects:
        kind, name, spec = thing["kind"], thing["metadata"]["name"], thing.get("spec", {})
        say = lambda text, kind=kind, name=name: found.append(f"{kind}/{name}: {text}")
        namespaced = kind not in ("Namespace",)
        if namespaced and not thing["metadata"].get("namespace"):
            say("has no namespace")
        if kind == "Namespace" and thing["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            say("does not enforce the Pod Security Standard `restricted`")
        if kind == "ServiceAccount" and thing.get("automountServiceAccountToken") is not False:
            say("its token is mounted unless a pod says otherwise")
        if kind in ("Deployment", "StatefulSet") and not Workload(thing).is_selected(spec["selector"]):
            say("does not select its own pods")
        if kind == "Service":
            service(say, spec, workloads, known)
        if kind == "NetworkPolicy" and not any(w.is_selected(spec["podSelector"]) for w in workloads):
            say("selects no pods")
        if kind == "PodDisruptionBudget":
            budget(say, spec, workloads, case)
        if kind == "HorizontalPodAutoscaler":
            scaled = known.get(f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}")
            if not scaled:
                say("scales what is not there")
            elif "replicas" in scaled["spec"]:
                say("is undone by each apply: its target has `replicas`")
            if not 2 <= spec["minReplicas"] <= spec["maxReplicas"]:
                say("keeps fewer than two")
        if kind == "Certificate" and name == "sidecloak-authority" and "sidecloak-authority.sidecloak.svc" not in spec["dnsNames"]:
            say("is not for the name that sidecars ask for")


def service(say, spec, workloads, known):
    chosen = [work for work in workloads if work.is_selected(spec["selector"])]
    if len(chosen) != 1:
        say(f"selects {len(chosen)} workloads")
        return
    work = chosen[0]
    for port in spec["ports"]:
        at = target(work, port)
        declared = {p["containerPort"] for c in work.containers for p in c.get("ports", [])}
        if at not in declared:
            say(f"its port {port['port']} leads nowhere in {work}")
        config = listening(work, known)
        if work.sidecar and config and at != port_of(config["listeners"][0]["bind"]):
            say(f"its port {port['port']} leads past the sidecar")


def budget(say, spec, workloads, case):
    chosen = [work for work in workloads if work.is_selected(spec["selector"])]
    if len(chosen) != 1:
        say(f"is about {len(chosen)} workloads")
        return
    least = chosen[0].object["spec"].get("replicas")
    if least is None:
        scalers = [o["spec"] for o in case.objects if o["kind"] == "HorizontalPodAutoscaler"]
        least = next((s["minReplicas"] for s in scalers if s["scaleTargetRef"]["name"] == chosen[0].name), 1)
    if least < 2 or ("minAvailable" in spec and spec["minAvailable"] >= least) or spec.get("maxUnavailable") == 0:
        say("lets no node be drained")


def secrets_in(text):
    """Whether a text has a key in it: nothing of the kind belongs into the repository."""
    return bool(re.search(r"PRIVATE KEY|^[A-Za-z0-9_-]{43}$", text, re.MULTILINE))
