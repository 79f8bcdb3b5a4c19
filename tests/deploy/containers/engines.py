"""podman and Docker's engine, with stores of their own that go when the tests end."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]


class Failed(Exception):
    """What was asked for did not come true."""


class Unable(Failed):
    """The machine does not allow it."""


def run(*command, env=None, cwd=REPOSITORY, limit=600, check=True, text_in=""):
    """Standard output and error together; a failure shows them."""
    done = subprocess.run(
        [str(word) for word in command],
        input=text_in,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=limit,
        check=False,
    )
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout if check else done


class Engine:
    """What both have in common."""

    def __init__(self, command, env):
        self.command, self.env = command, env

    def __call__(self, *words, **options):
        return run(*self.command, *words, env=self.env, **options)

    def must_run(self, image):
        """Whether the machine lets it run a container in a network of its own: 125 is an engine's word for that it could not."""
        network = "sidecloak-try"
        for words in [("network", "create", network), ("run", "--rm", "--network", network, image, "--version")]:
            done = self(*words, check=False)
            if done.returncode != 0 and (words[0] == "network" or done.returncode == 125):
                raise Unable(" ".join(done.stdout.split()[-40:]))
        self("network", "rm", network)

    def inspect(self, kind, name):
        found = json.loads(self(kind, "inspect", name))
        return found[0] if isinstance(found, list) else found

    @property
    def words(self):
        """As one word of an environment variable."""
        return " ".join(self.command)


class Podman(Engine):
    """Stores below a directory of its own; networks, too."""

    def __init__(self, place):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        # Sockets lie below it, whose names have 107 characters at most.
        self.short = Path(tempfile.mkdtemp(prefix="scp"))
        options = ["--root", place / "root", "--runroot", self.short / "run", "--tmpdir", self.short / "tmp"]
        options += ["--network-config-dir", self.short / "networks"]
        super().__init__(["podman", *map(str, options)], {"CONTAINERS_CONF": str(HERE / "containers.conf")})
        self("info", limit=60)

    def end(self):
        """Whatever runs, and all that it stored."""
        self("pod", "rm", "--all", "--force", "--time", "1", check=False)
        self("rm", "--all", "--force", "--time", "1", check=False)
        self("network", "prune", "--force", check=False)
        self("system", "reset", "--force", check=False)
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.short, ignore_errors=True)


class Docker(Engine):
    """An engine started for this, with a socket of its own."""

    def __init__(self, place):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.short = Path(tempfile.mkdtemp(prefix="scd"))
        socket = f"unix://{self.short}/docker.sock"
        super().__init__(["docker"], {"DOCKER_HOST": socket, "DOCKER_CONFIG": str(self.short), "DOCKER_BUILDKIT": "0"})
        self.process = self.start(socket)

    def start(self, socket):
        """The first storage that works. Which one the engine would choose takes it minutes of trying on some machines."""
        for driver in ["overlay2", "vfs"]:
            command = ["dockerd", "--data-root", self.place / "data", "--exec-root", self.short / "exec", "--pidfile"]
            command += [self.short / "pid", "--host", socket, "--bridge", "none", "--storage-driver", driver]
            with open(self.place / "log", "w", encoding="utf-8") as log:
                process = subprocess.Popen(
                    # An engine of this age closes every file that it might have, one by one.
                    ["sh", "-c", 'ulimit -n 20000; exec "$@"', "sh", *map(str, command)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            for _ in range(120):
                if process.poll() is not None:
                    break
                if subprocess.run(["docker", "version"], env={**os.environ, **self.env}, capture_output=True, check=False).returncode == 0:
                    return process
                time.sleep(0.5)
            stop(process)
        why = (self.place / "log").read_text(encoding="utf-8").splitlines()[-3:]
        self.process = None
        self.end()
        raise Failed("dockerd does not start: " + " / ".join(why))

    def end(self):
        """Whatever runs, and all that it stored."""
        if self.process is not None:
            found = self("ps", "--all", "--quiet", check=False).stdout.split()
            if found:
                self("rm", "--force", "--volumes", *found, check=False)
            self("network", "prune", "--force", check=False)
            stop(self.process)
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self.short, ignore_errors=True)


def stop(process):
    """In order, and if that takes long, not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
