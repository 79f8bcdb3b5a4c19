"""The image: what is in it, and that it runs as deploy/image/README.md says."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import time
import urllib.request

from engines import REPOSITORY, Failed, run

LIMIT = 25_000_000

# Type, mode and owner of all that is in it.
EXPECTED = {
    "etc": ("directory", 0o755, 0),
    "etc/sidecloak": ("directory", 0o755, 0),
    "etc/ssl": ("directory", 0o755, 0),
    "etc/ssl/certs": ("directory", 0o755, 0),
    "etc/ssl/certs/ca-certificates.crt": ("file", 0o644, 0),
    "sidecloak": ("file", 0o755, 0),
    "tmp": ("directory", 0o1777, 0),
    "var": ("directory", 0o755, 0),
    "var/lib": ("directory", 0o755, 0),
    "var/lib/sidecloak": ("directory", 0o700, 65532),
}


def expect(true, what):
    if not true:
        raise Failed(what)


def holds_what_it_should(engine, tag):
    """Layers and configuration, as they would be pushed."""
    saved = subprocess.run([*engine.command, "save", tag], env={**os.environ, **engine.env}, stdout=subprocess.PIPE, check=True).stdout
    found, size, packed = {}, 0, 0
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        for name in manifest["Layers"]:
            layer = archive.extractfile(name).read()
            packed += len(gzip.compress(layer, 9))
            with tarfile.open(fileobj=io.BytesIO(layer)) as files:
                for file in files:
                    kind = "directory" if file.isdir() else "file" if file.isfile() else "other"
                    path = file.name.removeprefix("./").strip("/")
                    if path in ("", "."):
                        continue
                    found[path] = (kind, file.mode & 0o7777, file.uid)
                    size += file.size
    expect(found == EXPECTED, f"in the image are {found}")
    expect(size <= LIMIT, f"the image has {size} bytes")
    image = engine.inspect("image", tag)
    config = image["Config"]
    told = {name: config.get(name) for name in ("User", "WorkingDir", "Entrypoint", "Cmd")}
    wanted = {"User": "65532:65532", "WorkingDir": "/etc/sidecloak", "Entrypoint": ["/sidecloak"], "Cmd": ["run"]}
    expect(told == wanted, f"it is configured {told}")
    health = config.get("Healthcheck") or image.get("Healthcheck") or {}
    expect(health.get("Test") == ["CMD", "/sidecloak", "health"], f"its health check is {health}")
    for label in ("title", "description", "version", "revision", "created", "licenses", "source"):
        expect(f"org.opencontainers.image.{label}" in config["Labels"], f"there is no label {label}")
    return f"{size:,} bytes, {packed:,} compressed"


def is_described(python):
    """The bill of materials: of the schema, of this very program, and with more in it than crates."""
    document = json.loads((REPOSITORY / "target/image/sidecloak.cdx.json").read_text(encoding="utf-8"))
    schema = (
        "import sys; from cyclonedx.validation.json import JsonStrictValidator as V; from cyclonedx.schema import SchemaVersion as S;"
        "e = V(S.V1_5).validate_str(sys.stdin.read()); print(e or 'valid'); sys.exit(e is not None)"
    )
    run(python, "-c", schema, text_in=json.dumps(document))
    names = {component["name"] for component in document["components"]}
    expect({"rustls", "aws-lc-sys", "glibc", "ca-certificates"} <= names, f"it lacks some of {sorted(names)}")
    expect("proptest" not in names and "rcgen" not in names, "it names what only tests use")
    digest = run("sha256sum", REPOSITORY / "target/image/sidecloak").split()[0]
    expect(document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}], "it is of another program")
    expect(str(REPOSITORY) not in json.dumps(document), "it tells where it was made")
    return f"{len(names)} components"


HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def runs(engine, tag):
    """Without a right, with nothing to write to but its volume, and names resolve although there is nothing but the program."""
    network, volume = "sidecloak-names", "sidecloak-keyring"
    engine("network", "create", network)
    keyring = ["--volume", f"{volume}:/var/lib/sidecloak"]
    store = ["--keyring", "sqlite:/var/lib/sidecloak/sidecloak.db", "--master-key-file", "/var/lib/sidecloak/master.key"]
    # A new volume has the owner that the image's directory has.
    engine("run", "--rm", "--network", "none", *HARDENED, *keyring, tag, "keys", "init", *store)
    # Whose probe is what the others ask for, by several names.
    engine("run", "--detach", "--name", "origin", "--network", network, *HARDENED, *keyring, tag, "run",
           "--upstream", "http://127.0.0.1:1", "--probe", "0.0.0.0:9902", *store)
    networks = engine.inspect("container", "origin")["NetworkSettings"]["Networks"]
    address = networks[network]["IPAddress"]
    try:
        for port, (name, more) in enumerate(
            {"origin": [], "by-hosts.example": ["--add-host", f"by-hosts.example:{address}"]}.items(), 15090
        ):
            front = f"front-{port}"
            engine("run", "--detach", "--name", front, "--network", network, "--publish", f"127.0.0.1:{port}:15080", *more,
                   "--env", "SIDECLOAK_PROBE=127.0.0.1:9902", *HARDENED, *keyring, tag, "run", "--listen", "0.0.0.0:15080",
                   "--upstream", f"http://{name}:9902", *store)
            healthy(engine, front)
            answer = get(f"http://127.0.0.1:{port}/livez")
            expect(answer.strip() == "ok", f"by the name {name} came {answer!r}")
            has_no_rights(engine, front)
            engine("stop", "--time", "40", front)
            code = engine.inspect("container", front)["State"]["ExitCode"]
            expect(code == 0, f"it ended with {code}: {engine('logs', front)}")
    finally:
        for name in ("front-15090", "front-15091", "origin"):
            engine("rm", "--force", "--time", "0", name, check=False)
        engine("volume", "rm", "--force", volume, check=False)
        engine("network", "rm", network, check=False)
    return "by DNS and by its hosts file"


def healthy(engine, name):
    """By the image's own check, run as the engine runs it."""
    for _ in range(60):
        done = engine("healthcheck", "run", name, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise Failed(f"{name} does not become healthy: {done.stdout}\n{engine('logs', name)}")


def has_no_rights(engine, name):
    """What the kernel says of the process."""
    about = engine.inspect("container", name)
    expect(about["HostConfig"]["ReadonlyRootfs"], f"{name} may write to its root")
    with open(f"/proc/{about['State']['Pid']}/status", encoding="utf-8") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    expect(status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4, f"{name} runs as {status['Uid']}")
    expect(int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, f"{name} has capabilities")
    expect(status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2", f"{name} is not confined")
    for shell in ("/bin/sh", "/bin/bash", "/busybox/sh"):
        expect(engine("exec", name, shell, "-c", "true", check=False).returncode != 0, f"{name} has a shell")


def get(url, data=None, method=None):
    """What is answered, once there is an answer."""
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()
