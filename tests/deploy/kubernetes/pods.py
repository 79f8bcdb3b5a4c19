"""Starts the containers of a pod on this machine as a kubelet would: volumes in its layout, variables, arguments, probes.

There is no root file system of their own here, so paths of mounts are replaced by real ones in arguments, variables and
sidecloak.yaml, ports by free ones, and `0.0.0.0` by loopback.
"""

import base64
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 60


class Pod:
    def __init__(self, work, case, given, root, binary, ports=None, hosts=None, token="", claims=None):
        self.work, self.root, self.binary, self.token = work, pathlib.Path(root), str(pathlib.Path(binary).resolve()), token
        self.known = {f"{o['kind']}/{o['metadata']['name']}": content(o) for o in case.objects} | given
        self.ports, self.hosts, self.started = ports or {}, hosts or {}, []
        self.volumes = {v["name"]: v for v in work.spec.get("volumes", [])}
        for name, volume in self.volumes.items():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim in (claims or {}):
                self.root.mkdir(parents=True, exist_ok=True)
                (self.root / name).symlink_to(claims[claim])
                continue
            (self.root / name).mkdir(parents=True)
            self.fill(name, volume)
        (self.root / "tmp-of-nobody").mkdir(parents=True, exist_ok=True)

    def fill(self, name, volume):
        """What a kubelet writes: a directory per state, `..data` that leads to the current one, a link per file."""
        files = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "serviceAccountToken" in source:
                files[source["serviceAccountToken"]["path"]] = self.token
            for key, kind in [("configMap", "ConfigMap"), ("secret", "Secret")]:
                if key in source:
                    it = source[key]
                    data = self.known[f"{kind}/{it.get('name') or it.get('secretName')}"]
                    items = it.get("items") or [{"key": k, "path": k} for k in data]
                    files |= {item["path"]: data[item["key"]] for item in items if item["key"] in data or not it.get("optional")}
        if not files:
            return
        place = self.root / name
        state = place / f"..{len(list(place.iterdir()))}"
        state.mkdir()
        mode = volume.get("secret", volume.get("projected", {})).get("defaultMode", 0o644)
        for path, text in files.items():
            (state / path).write_text(self.here(text) if path.endswith((".yaml", ".py")) else text)
            (state / path).chmod(mode)
            if not (place / path).is_symlink():
                (place / path).symlink_to(f"..data/{path}")
        (place / "..new").symlink_to(state.name)
        os.replace(place / "..new", place / "..data")

    def edit(self, config_map, key, change):
        """`kubectl apply` of a changed ConfigMap, and the kubelet that takes it up."""
        name = f"ConfigMap/{config_map}"
        self.known[name] = {**self.known[name], key: change(self.known[name][key])}
        for volume in self.volumes:
            self.fill(volume, self.volumes[volume])

    def here(self, text):
        """A text of the pod, as it has to be on this machine."""
        places = {m["mountPath"]: str(self.root / m["name"]) for c in self.work.containers for m in c.get("volumeMounts", [])}
        places.pop("/tmp", None)
        # Each of them only where a path begins, and whole: `/app`, neither `/apparatus` nor `/opt/app`.
        which = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        text = re.sub(rf"(?<![\w.-])(?:{which})(?![\w-])", lambda m: places[m[0]], text) if places else text
        for host, instead in self.hosts.items():
            text = text.replace(host, instead)
        for port, instead in self.ports.items():
            text = re.sub(rf"(?<=:){port}\b", str(instead), text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def path(self, container, path):
        mount = next(m for m in container["volumeMounts"] if path.startswith(m["mountPath"] + "/"))
        return (self.root / mount["name"] / path.removeprefix(mount["mountPath"] + "/")).resolve()

    def command(self, container, args=None):
        command = container.get("command") or [self.binary]
        # The Python of this test stands for the one of the application's image.
        command = [sys.executable if command[0] == "python3" else command[0], *command[1:]]
        variables = self.environment(container)
        expand = lambda part: re.sub(r"\$\((\w+)\)", lambda m: variables.get(m[1], m[0]), part)
        return [self.here(expand(part)) for part in command + (args if args is not None else container.get("args", []))]

    def environment(self, container):
        """Nothing but what the pod says; a volume is what file systems like this one stand for."""
        variables = {"SIDECLOAK_I_KNOW": "true", "PYTHONDONTWRITEBYTECODE": "1"}
        for variable in container.get("env", []):
            value = variable.get("value")
            for key, kind in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")]:
                if it := variable.get("valueFrom", {}).get(key):
                    value = self.known[f"{kind}/{it['name']}"][it["key"]]
            variables[variable["name"]] = self.here(str(self.ports.get(int(value), value)) if value.isdigit() else value)
        return variables

    def directory(self, container):
        """The image's working directory, and the pod's."""
        mount = next((m for m in container.get("volumeMounts", []) if m["mountPath"] == "/etc/sidecloak"), None)
        return self.root / (mount["name"] if mount else "tmp-of-nobody")

    def once(self, container, args=None):
        """An init container, or a command in a container (`kubectl exec`)."""
        return subprocess.run(
            self.command(container, args), env=self.environment(container), cwd=self.directory(container),
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )

    def start(self, container):
        log = open(self.root / f"{container['name']}.log", "ab")
        process = subprocess.Popen(
            self.command(container), env=self.environment(container), cwd=self.directory(container), stdout=log, stderr=log,
        )
        log.close()
        self.started.append((container, process))
        return process

    def log(self, container):
        return (self.root / f"{container['name']}.log").read_text()

    def ready(self, container, probe="startupProbe"):
        """Waits for a probe, as long as the kubelet would and then some."""
        get = container[probe]["httpGet"]
        port = next((p["containerPort"] for p in container["ports"] if p.get("name") == get["port"]), get["port"])
        process = next(p for c, p in self.started if c is container)
        deadline = time.monotonic() + PATIENCE
        while True:
            status, body = ask("GET", f"http://127.0.0.1:{self.ports.get(port, port)}{get['path']}")
            if status == 200:
                return
            assert process.poll() is None, f"{container['name']} ended with {process.poll()}: {self.log(container)}"
            assert time.monotonic() < deadline, f"{container['name']} is not ready: {status} {body} {self.log(container)}"
            time.sleep(0.1)

    def stop(self):
        """In the order of a pod's end: the containers, then the sidecars from the last; their exit codes."""
        codes = {}
        for container, process in sorted(self.started, key=lambda started: started[0] in self.work.first):
            process.send_signal(signal.SIGTERM)
            codes[container["name"]] = process.wait(timeout=PATIENCE)
        self.started = []
        return codes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, process in self.started:
            process.kill()
            process.wait()


def content(thing):
    data = thing.get("data", {})
    if thing["kind"] == "Secret":
        return {key: base64.b64decode(value).decode() for key, value in data.items()} | thing.get("stringData", {})
    return dict(data)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(method, url, body=None):
    """Status and body; 0 where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()
    except (OSError, urllib.error.URLError) as error:
        return 0, str(error)


def until(what, holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
