"""The admission policies over the corpus, compared with what the webhook made of it.

    policies.py REPOSITORY RESULTS RENDERED…

RESULTS: what became of each pod through the webhook, {name: {outcome, pod, again, message}}. RENDERED: files of manifests as
`kubectl kustomize` gives them, the policy as Kubernetes serves it now first. Prints what it did; any difference ends it with an error.
"""

import copy
import json
import pathlib
import sys

import kubernetes_validate
import yaml

import checked
from cel import Policy

VERSIONS = [f"1.{minor}" for minor in range(30, 37)]
# Who serves which version of the mutating policy, as its documentation and KEP 3962 have it.
SERVED = {"v1alpha1": ["1.32", "1.33"], "v1beta1": ["1.34", "1.35"], "v1": ["1.36"]}


def load(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def of_kind(documents, kind):
    return next(d for d in documents if d["kind"] == kind)


def text(document):
    """To be compared: Python takes 1 and True for the same."""
    return json.dumps(document, sort_keys=True)


def valid(document, versions=VERSIONS):
    for version in versions:
        kubernetes_validate.validate(document, version, strict=True)
    return len(versions)


def corpus(root):
    return {path.stem: load(path)[0] for path in sorted((root / "tests/deploy/injection/pods").glob("*.yaml"))}


def through_the_policy(name, case, mutation, refusals, guard):
    """What became of it, as the webhook's results have it."""
    pod = mutation.mutate(copy.deepcopy(case["pod"]))
    message = refusals.refuses(pod)
    general = guard.refuses(pod)
    assert (message is None) == (general is None), f"{name}: the guard says {general}, the policy {message}"
    if message is not None:
        assert pod == case["pod"], f"{name}: refused and changed"
        return {"outcome": "refused", "message": message}
    again = mutation.mutate(copy.deepcopy(pod))
    assert again == pod, f"{name}: changed twice"
    return {"outcome": "unchanged" if pod == case["pod"] else "injected", "pod": pod}


def over_the_corpus(cases, results, mutation, refusals, guard, checked_problem):
    validated = 0
    for name, case in cases.items():
        ours, theirs = through_the_policy(name, case, mutation, refusals, guard), results[name]
        if ours["outcome"] != "unchanged":
            assert checked_problem(case["pod"]) == ours.get("message", ""), name
        assert ours["outcome"] == theirs["outcome"] == case["expect"], f"{name}: {ours} {theirs}"
        if ours["outcome"] == "refused":
            assert ours["message"] == theirs["message"] and case["says"] in ours["message"], f"{name}: {ours} {theirs}"
            continue
        assert text(ours["pod"]) == text(theirs["pod"]), f"{name}:\n{text(ours['pod'])}\n{text(theirs['pod'])}"
        assert theirs["again"] == theirs["pod"], f"{name}: the webhook changed it twice"
        validated += valid(ours["pod"])
    return validated


def updates(cases, results, refusals, guard):
    """Updates are refused for what they bring, and for nothing that was there."""
    asks, good = cases["02-minimal"]["pod"], results["02-minimal"]["pod"]
    plain = cases["03-not-asked"]["pod"]
    claims = copy.deepcopy(plain)
    claims["metadata"]["labels"]["sidecloak.dev/injected"] = "true"
    finalized = copy.deepcopy(asks)
    finalized["metadata"]["finalizers"] = []
    into, beside, keys = (copy.deepcopy(good) for _ in range(3))
    into["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox", "targetContainerName": "sidecloak"}]
    beside["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox", "targetContainerName": "web"}]
    keys["spec"]["ephemeralContainers"] = [
        {"name": "debug", "image": "busybox", "volumeMounts": [{"name": "sidecloak-secret", "mountPath": "/x"}]}
    ]
    further, shared, spooled, swapped, hidden, renamed = (copy.deepcopy(p) for p in (into, beside, keys, good, good, good))
    further["spec"]["ephemeralContainers"].append({**into["spec"]["ephemeralContainers"][0], "name": "another"})
    shared["spec"]["shareProcessNamespace"] = True
    spooled["spec"]["ephemeralContainers"][0]["volumeMounts"][0]["name"] = "sidecloak-tmp"
    swapped["spec"]["initContainers"][-1]["image"] = "busybox"
    del hidden["metadata"]["labels"]["sidecloak.dev/injected"]
    renamed["metadata"]["labels"]["sidecloak.dev/injected"] = "no"
    told = [
        (asks, plain, "counts when a pod is created"),
        (finalized, asks, None),
        (claims, plain, "is for pods with the sidecar"),
        (claims, claims, None),
        (into, good, "an ephemeral container"),
        (keys, good, "an ephemeral container"),
        (beside, good, None),
        (further, into, "an ephemeral container"),
        (into, into, None),
        (shared, good, "an ephemeral container"),
        (spooled, good, "an ephemeral container"),
        (swapped, good, "image cannot be changed"),
        (hidden, good, "cannot be taken from"),
        (renamed, good, "cannot be taken from"),
        (hidden, hidden, None),
        (good, good, None),
        (plain, plain, None),
    ]
    for policy in (refusals, guard):
        for number, (pod, old, expected) in enumerate(told):
            message = policy.refuses(pod, old, "UPDATE")
            assert (message is None) == (expected is None) and (expected or "") in (message or ""), f"update {number}: {message}"
        assert "is for pods with the sidecar" in policy.refuses(claims)
    return len(told)


def asked_for(cases, documents):
    """The webhook's own match conditions: who neither asks nor misspells is never held up."""
    webhook = of_kind(documents, "MutatingWebhookConfiguration")["webhooks"][0]
    conditions = Policy({"spec": webhook})
    for name, case in cases.items():
        annotations = case["pod"]["metadata"].get("annotations", {})
        expected = annotations.get("sidecloak.dev/inject", "false") != "false"
        assert conditions.matches(conditions.context(case["pod"])) == expected, name
    assert webhook["failurePolicy"] == "Fail" and webhook["sideEffects"] == "None"


def manifests(files):
    """All of them, each for the versions that serve its kind."""
    validated = 0
    for document in (document for file in files for document in load(file)):
        group, _, version = document["apiVersion"].rpartition("/")
        if group != "cert-manager.io":
            mutating = document["kind"].startswith("MutatingAdmissionPolicy")
            validated += valid(document, SERVED[version] if mutating else VERSIONS)
    return validated


def main(root, results, *rendered):
    root, results = pathlib.Path(root), json.loads(pathlib.Path(results).read_text())
    rendered = [pathlib.Path(file) for file in rendered] + [
        root / "deploy/kubernetes/injection" / file
        for file in ("guard/guard.yaml", "exec.yaml", "webhook/validating/validating.yaml", "networkpolicy.yaml")
    ]
    documents, cases = load(rendered[0]), corpus(root)
    everything = [document for file in rendered for document in load(file)]
    params = of_kind(documents, "ConfigMap")
    mutating, validating = of_kind(documents, "MutatingAdmissionPolicy"), of_kind(documents, "ValidatingAdmissionPolicy")
    # The two say the same of a pod because they have the same variables, in the same order.
    shared = [v["name"] for v in mutating["spec"]["variables"]].index("problem") + 1
    assert mutating["spec"]["variables"][:shared] == validating["spec"]["variables"][:shared]
    mutation, refusals = Policy(mutating, params), Policy(validating, params)
    guard = next(d for d in everything if d["metadata"]["name"] == "sidecloak-guard")
    typed = checked.check(mutating, validating, guard, next(d for d in everything if d["metadata"]["name"] == "sidecloak-exec"))
    pods = over_the_corpus(
        cases, results, mutation, refusals, Policy(guard), lambda pod: checked.problem(validating, params, pod)
    )
    told = updates(cases, results, refusals, Policy(guard))
    asked_for(cases, everything)
    entering = Policy(next(d for d in everything if d["metadata"]["name"] == "sidecloak-exec"))
    for options, refused in [({"container": "sidecloak"}, True), ({"container": "web"}, False), ({"stdin": True}, False)]:
        assert (entering.refuses(options, None, "CONNECT") is not None) == refused, options
    print(f"{len(cases)} pods, {told} updates, {typed} expressions; {pods} validations of pods, {manifests(rendered)} of manifests")


if __name__ == "__main__":
    main(*sys.argv[1:])
