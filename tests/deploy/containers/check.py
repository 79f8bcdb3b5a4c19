"""Runs what tests/deploy/containers.sh is about, with each engine that works here. Exit code 0, 1, or 3 if none does."""

import os
import shutil
import sys
import time
from pathlib import Path

import compose
import image
import pod
from engines import REPOSITORY, Docker, Failed, Podman, Unable, run

TOOLS = REPOSITORY / "target/tools/containers/venv/bin"
WORK = REPOSITORY / "target/tmp/containers"


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    tag = "sidecloak:" + run("cargo", "pkgid").strip().replace("@", "#").rsplit("#", 1)[1]
    ran = 0
    try:
        ran += with_engine("podman", Podman, lambda engine: on_podman(engine, tag))
        ran += with_engine("docker", Docker, lambda engine: on_docker(engine, tag))
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    return 0 if ran == 2 else 3


def on_podman(podman, tag):
    step("image, podman", build, podman)
    step("whether it runs here", podman.must_run, tag)
    step("what is in it", image.holds_what_it_should, podman, tag)
    step("the same twice", is_the_same_twice, podman, tag)
    step("bill of materials", image.is_described, TOOLS / "python")
    step("without rights; names", image.runs, podman, tag)
    made = step("python of Debian's packages", run, REPOSITORY / "deploy/compose/images.sh", "python", env={**podman.env, "ENGINE": podman.words})
    python = made.split("PYTHON_VERSION=")[1].strip()
    step("pod", pod.plays, podman, tag, f"python:{python}-slim", WORK)


def on_docker(docker, tag):
    step("image, docker", build, docker)
    step("whether it runs here", docker.must_run, tag)
    step("what is in it", image.holds_what_it_should, docker, tag)
    step("compose", compose.comes_up, docker, TOOLS / "docker-compose", WORK)


def build(engine, umask="022"):
    command = f"umask {umask} && exec deploy/image/build.sh"
    return run("bash", "-c", command, env={**engine.env, "ENGINE": engine.words}, limit=7200).splitlines()[-1]


def is_the_same_twice(podman, tag):
    """Of the same program and commit comes the same image, to its digest."""
    first = podman.inspect("image", tag)["Id"]
    build(podman, umask="077")
    second = podman.inspect("image", tag)["Id"]
    image.expect(first == second, f"{first} became {second}")


def with_engine(name, make, use):
    """1 if it ran, 0 if this machine has no such engine that works."""
    try:
        if shutil.which("dockerd" if name == "docker" else name) is None:
            raise Failed("it is not installed")
        if os.geteuid() != 0:
            raise Failed("these tests run their engines as root")
        engine = make(WORK / name)
    except Failed as why:
        print(f"SKIPPED: {name} does not work here: {why}", flush=True)
        return 0
    try:
        use(engine)
    except Unable as why:
        print(f"SKIPPED: {name} runs nothing here: {why}", flush=True)
        return 0
    finally:
        engine.end()
    return 1


def step(what, do, *words, **options):
    """Tells what is done, how long it took, and what came of it."""
    start = time.monotonic()
    print(f"  {what} …", flush=True)
    result = do(*words, **options)
    told = f": {result}" if isinstance(result, str) and "\n" not in result.strip() else ""
    print(f"  {what}: {time.monotonic() - start:.0f} s{told}", flush=True)
    return result


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
