"""A pod of two containers, out of deploy/kubernetes/examples/pod.yaml, without a cluster."""

import json
import shutil
import time

from engines import HERE, REPOSITORY, Failed
from image import expect, get

POD = REPOSITORY / "deploy/kubernetes/examples/pod.yaml"

def plays(podman, tag, python_image, work):
    """Writes through the pod's one door, and reads what the application stored."""
    context = work / "customers"
    context.mkdir(parents=True)
    shutil.copy(HERE / "customers.py", context)
    (context / "Dockerfile").write_text(
        f'FROM {python_image}\nCOPY customers.py /customers.py\nENTRYPOINT ["python3", "/customers.py"]\n', encoding="utf-8"
    )
    podman("build", "--tag", "customers:1", context)
    expect(f"image: {tag}\n" in POD.read_text(encoding="utf-8"), f"{POD} is of another version than {tag}")
    try:
        played = podman("kube", "play", POD, check=False)
        if played.returncode != 0:
            raise Failed(f"{played.stdout}\n{logs(podman)}")
        networks = podman.inspect("container", podman.inspect("pod", "customers")["InfraContainerID"])["NetworkSettings"]["Networks"]
        door = "http://" + next(iter(networks.values()))["IPAddress"] + ":15080"
        customer = {"ssn": "123-45-6789", "name": "Zoë"}
        put = patiently(lambda: get(f"{door}/customers/7", json.dumps(customer).encode(), "PUT"), podman)
        expect(json.loads(put) == customer, f"what was written came back as {put}")
        expect(json.loads(get(f"{door}/customers/7")) == customer, "what is read is not what was written")
        stored = podman("exec", "customers-customers", "python3", "-c", "print(open('/data/customers.json').read())")
        expect('"sc1.' in stored and "123-45" not in stored, f"stored is {stored}")
        podman("exec", "customers-sidecloak", "/sidecloak", "health")
    finally:
        podman("kube", "down", POD, check=False)
        podman("volume", "rm", "--force", "customers-keyring", check=False)


def patiently(ask, podman):
    for _ in range(60):
        try:
            return ask()
        except OSError as error:
            why = error
            time.sleep(0.5)
    raise Failed(f"{why}\n{logs(podman)}")


def logs(podman):
    told = [podman("ps", "--all", check=False).stdout]
    for name in ("keyring", "sidecloak", "customers"):
        told += [f"{name}:", podman("logs", f"customers-{name}", check=False).stdout]
    return "\n".join(told)
