"""deploy/compose from a fresh copy: prepared, brought up with the real compose, written to, restarted, and in its other form."""

import json
import shutil
import time
import urllib.error

from engines import REPOSITORY, Failed, run
from image import expect, get

PORT = "15093"
CUSTOMER = {"name": "Zoë", "ssn": "123-45-6789", "email": "zoe@example.com", "phone": "+1 555 0100", "balance": 12.5}


class Project:
    """A clone's files, and compose in it."""

    def __init__(self, docker, compose, work):
        self.docker, self.compose = docker, str(compose)
        self.place = work / "clone/deploy/compose"
        for part in ["deploy/compose", "deploy/image", "tests/apps/accounts"]:
            shutil.copytree(REPOSITORY / part, work / "clone" / part, ignore=shutil.ignore_patterns("secrets", ".env", "__pycache__"))
        shutil.copy(REPOSITORY / "Cargo.toml", work / "clone")
        self.env = {**docker.env, "PORT": PORT, "COMPOSE": self.compose, "ENGINE": "docker", "BASES": "debian"}
        self.files = []

    def __call__(self, *words, **options):
        return run(self.compose, "--progress", "plain", *self.files, *words, env=self.env, cwd=self.place, **options)

    def prepare(self):
        return run("./prepare.sh", env=self.env, cwd=self.place, limit=1200)

    def up(self):
        done = self("up", "--detach", "--wait", "--wait-timeout", "180", check=False)
        if done.returncode != 0:
            raise Failed(f"{done.stdout}\n{self('logs', '--tail', '20')}")

    def container(self, service):
        return self.docker.inspect("container", self("ps", "--all", "--quiet", service).strip())

    def rows(self):
        """The application's table, as who has the database sees it."""
        sql = "select coalesce(json_agg(c order by id), '[]') from customers c"
        command = 'PGPASSWORD=$(</run/secrets/accounts-db) exec psql -h 127.0.0.1 -U accounts -d accounts -XAtc "$0"'
        return json.loads(self("exec", "-T", "postgres", "bash", "-c", command, sql))


def comes_up(docker, compose, work):
    project = Project(docker, compose, work)
    try:
        project.prepare()
        owner = owner_of(project)
        project.up()
        in_order(project)
        hardened(project)
        seals(project)
        # A second time everything stays as it is, also what makes the keyring.
        project.prepare()
        expect(owner_of(project) == owner, "preparing twice made another keyring")
        restarts(project)
        by_itself(project)
    finally:
        project("down", "--volumes", "--timeout", "5", check=False)


def owner_of(project):
    return [line for line in (project.place / ".env").read_text().splitlines() if line.startswith("SIDECLOAK_OWNER=")]


def in_order(project):
    """Nobody began before whom it needs was well."""
    began = {name: project.container(name)["State"]["StartedAt"] for name in ("postgres", "keyring", "authority", "app", "sidecloak")}
    for first, then in [("postgres", "keyring"), ("keyring", "authority"), ("postgres", "app"), ("app", "sidecloak"), ("authority", "sidecloak")]:
        expect(began[first] < began[then], f"{then} began before {first}: {began}")
    ended = project.container("keyring")["State"]
    expect(ended["ExitCode"] == 0 and ended["FinishedAt"] <= began["authority"], f"the authority did not wait for the keyring: {ended}")


def hardened(project):
    for service in ("postgres", "authority", "app", "sidecloak"):
        about = project.container(service)
        host = about["HostConfig"]
        expect(host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["Memory"] > 0, f"{service} may do too much")
        expect("no-new-privileges:true" in host["SecurityOpt"] and not host["CapAdd"] and not host["Privileged"], f"{service} may do too much")
        expect(about["Config"]["User"] not in ("", "0", "root"), f"{service} runs as root")
        for port, places in (host["PortBindings"] or {}).items():
            expect(port == "15080/tcp" and all(place["HostIp"] == "127.0.0.1" for place in places), f"{service} publishes {port}")
    for service in ("keyring", "authority", "sidecloak"):
        expect(project.container(service)["Config"]["User"] == "65532:65532", f"{service} runs as another")
    # The application's own port is reached from nowhere but its own network namespace.
    reach = "import socket,sys; s=socket.socket(); s.settimeout(2); sys.exit(s.connect_ex((socket.gethostbyname('app'), 8000)))"
    refused = project("exec", "-T", "app", "python3", "-c", reach, check=False)
    expect(refused.returncode != 0, "the application listens beyond loopback")


def seals(project):
    made = json.loads(ask("/customers", "POST", CUSTOMER))
    expect({name: made[name] for name in CUSTOMER} == CUSTOMER, f"what was written came back as {made}")
    expect(json.loads(ask(f"/customers/{made['id']}")) == made, "what is read is not what was written")
    stays_sealed(project, 1)


def stays_sealed(project, rows):
    """What the database holds, and that it still opens."""
    stored = project.rows()
    expect(len(stored) == rows, f"{len(stored)} rows are stored")
    for row in stored:
        expect(row["ssn"].startswith("sc1.") and row["email"].startswith("sc1."), f"stored is {row}")
        expect(row["name"] == CUSTOMER["name"] and row["phone"] == CUSTOMER["phone"], f"no rule is about {row}")
    shown = json.loads(ask("/customers"))
    expect([row["ssn"] for row in shown] == [CUSTOMER["ssn"]] * rows, f"shown is {shown}")


def restarts(project):
    """The database under everybody, then all of it anew on what was stored."""
    project("restart", "postgres", limit=180)
    project.up()
    stays_sealed(project, 1)
    project("down", "--timeout", "30")
    project.up()
    in_order(project)
    stays_sealed(project, 1)


def by_itself(project):
    """Sidecloak as a service of its own."""
    project("down", "--timeout", "30")
    project.files = ["--file", "compose.yaml", "--file", "compose.gateway.yaml"]
    project.up()
    expect(not project.container("app")["HostConfig"]["PortBindings"], "the application's port is published")
    stays_sealed(project, 1)
    again = {**CUSTOMER, "ssn": "987-65-4321"}
    made = json.loads(ask("/customers", "POST", again))
    expect(made["ssn"] == again["ssn"] and project.rows()[1]["ssn"].startswith("sc1."), "it does not seal")


def ask(path, method="GET", document=None):
    """Once the door is open: a port is published before somebody listens."""
    data = None if document is None else json.dumps(document).encode()
    for _ in range(40):
        try:
            return get(f"http://127.0.0.1:{PORT}{path}", data, method)
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {path}: {error.code} {error.read().decode()}") from error
        except OSError as error:
            why = error
            time.sleep(0.25)
    raise Failed(f"{method} {path}: {why}")
