"""Every object against the schemas of each version, strictly: an unknown field is an error."""

import copy
import functools

import kubernetes_validate
from kubernetes_validate import utils

import findings
import rendered

VERSIONS = [f"1.{minor}" for minor in range(30, 37)]

# Read once, not for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def main(owner, place, *_):
    have = {utils.major_minor(version) for version in utils.all_versions()}
    missing = [version for version in VERSIONS if version not in have]
    assert not missing, f"kubernetes-validate {kubernetes_validate.__version__} has no schemas for {missing}"
    count, foreign = 0, set()
    for case in rendered.everything(owner, place):
        for thing in case.objects:
            if thing["apiVersion"] in findings.FOREIGN:
                foreign.add(f"{thing['apiVersion']} {thing['kind']}")
                continue
            for version in VERSIONS:
                assert (wrong := problem(thing, version)) is None, f"{case.name}: {thing['kind']} for {version}: {wrong}"
            count += 1
    assert count > 80, f"only {count} objects"
    wrong_ones_are_found(rendered.examples()[0])
    print(f"{count} objects valid for Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}, by kubernetes-validate {kubernetes_validate.__version__}")
    print(f"of others, so without a schema here: {', '.join(sorted(foreign))}")


def problem(thing, version):
    try:
        used = kubernetes_validate.validate(thing, version, strict=True)
        return None if used == version else f"looked at by the schemas of {used}"
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message


def wrong_ones_are_found(case):
    deployment = next(o for o in case.objects if o["kind"] == "Deployment")

    def broken(change):
        thing = copy.deepcopy(deployment)
        change(thing, thing["spec"]["template"]["spec"])
        return thing

    changes = {
        "an unknown field": lambda thing, spec: spec["initContainers"][0].update(restartPolicies="Always"),
        "a wrong type": lambda thing, spec: thing["spec"].update(replicas="two"),
        "a missing name": lambda thing, spec: spec["containers"][0].pop("name"),
        "a sleep that is none": lambda thing, spec: spec["containers"][0]["lifecycle"]["preStop"].update(sleep={"second": 1}),
        "a version that is gone": lambda thing, spec: thing.update(apiVersion="extensions/v1beta1"),
    }
    for what, change in changes.items():
        for version in VERSIONS:
            assert problem(broken(change), version), f"{what} passes for {version}"
