"""The commands of deploy/kubernetes/README.md, section by section, in a shell with a stand-in for the cluster."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import rendered

# Instead of kubectl and helm: renders what would be applied, remembers it, and knows nothing else.
STAND_IN = """#!{python}
import json, pathlib, subprocess, sys
TOOLS, KNOWN = pathlib.Path({tools!r}), pathlib.Path({known!r})
program, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {{"objects": [], "releases": []}}

def real(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{{command}}: {{done.stderr}}")
    import yaml
    for thing in yaml.safe_load_all(done.stdout):
        if thing:
            known["objects"].append(f"{{thing['metadata'].get('namespace', '')}}/{{thing['kind'].lower()}}/{{thing['metadata']['name']}}")

def option(*names):
    for name in names:
        if name in arguments:
            at = arguments.index(name)
            return arguments.pop(at) and arguments.pop(at)

if program == "helm" and arguments[0] == "install":
    real(TOOLS / "helm", "template", "--kube-version", "1.30", *arguments[1:])
    known["releases"].append(arguments[1])
elif program == "helm":
    assert arguments[0] == "test" and arguments[1] in known["releases"], arguments
elif program == "kubectl":
    namespace = option("-n", "--namespace") or ""
    if arguments[:2] == ["apply", "-k"]:
        real(TOOLS / "kubectl", "kustomize", arguments[2])
    elif arguments[:2] == ["get", "--raw"]:
        print('{{"keys":[]}}')
    elif arguments[0] == "create":
        for part in arguments:
            if part.startswith(("--from-file=", "--cert=", "--key=")):
                assert pathlib.Path(part.rpartition("=")[2]).exists() or part.startswith(("--from-file=master.key", "--cert=tls.crt", "--key=tls.key")), part
    elif arguments[:1] in (["run"], ["get"]):
        print("10.0.0.1")
    elif arguments[:3] == ["wait", "--for=delete", "pod"]:
        pass
    else:
        asked = [part for part in arguments if part.split("/")[0] in ("deployment", "job", "secret", "persistentvolumeclaim")]
        assert asked, arguments
        for part in asked:
            kind, name = part.split("/")
            assert f"{{namespace}}/{{kind}}/{{name}}" in known["objects"], f"{{part}} is not in {{namespace}}: {{known['objects']}}"
        if arguments[-2:] == ["keys", "list"]:
            print("owner " + "ab" * 32)
if program == "helm" or "apply" in arguments:
    KNOWN.write_text(json.dumps(known))
"""


def sections(text):
    """The indented blocks of each section that begins with `## `."""
    found, fenced = {}, False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## "):
            title = line[3:]
            found[title] = []
        elif line.startswith("    ") and not fenced:
            found[title].append(line.strip())
    return {title: lines for title, lines in found.items() if lines}


def main(owner, place, *_):
    place = pathlib.Path(place)
    shutil.copytree(rendered.KUBERNETES, place / "deploy/kubernetes", ignore=shutil.ignore_patterns("secrets", "jwks.json", "ca.crt", "owner.env"))
    programs = place / "programs"
    programs.mkdir()
    for name in ["kubectl", "helm"]:
        text = STAND_IN.format(python=sys.executable, tools=str(rendered.TOOLS), known=str(place / "known.json"))
        (programs / name).write_text(text)
    for name in ["kind", "curl"]:
        (programs / name).write_text("#!/bin/sh\n")
    build = place / "deploy/image/build.sh"
    build.parent.mkdir()
    build.write_text("#!/bin/sh\n")
    for program in [*programs.iterdir(), build]:
        program.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(place), "POSTGRES_URL": "postgres://x"}
    run = 0
    for title, lines in sections((rendered.KUBERNETES / "README.md").read_text()).items():
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(lines) + "\nwait"], cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{title}: {done.stdout}{done.stderr}"
        run += len(lines)
    assert run > 35, run
    known = json.loads((place / "known.json").read_text())
    assert "sidecloak/deployment/sidecloak-authority" in known["objects"] and len(known["releases"]) == 2, known
    wrong = subprocess.run(["kubectl", "-n", "shop", "rollout", "status", "deployment/none"], cwd=place, env=environment, capture_output=True, check=False)
    assert wrong.returncode != 0, "the stand-in takes anything"
    print(f"{run} lines of commands run")
