"""Adds to a CycloneDX document of crates what else is in the image: the C library, and the certificate authorities' roots.

sbom.py CRATES.json ROOTFS
"""

import hashlib
import json
import os
import subprocess
import sys
import time


def main():
    crates, rootfs = sys.argv[1:]
    with open(crates, encoding="utf-8") as file:
        document = json.load(file)
    # A number drawn at random and the time of day would make each document another.
    document.pop("serialNumber", None)
    document["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    program = document["metadata"]["component"]
    program["hashes"] = [sha256(os.path.join(rootfs, "sidecloak"))]
    # Where the clone lies is nobody's business.
    for component in [program, *program.get("components", []), *document["components"]]:
        strip_paths(component)
    roots = os.path.join(rootfs, "etc/ssl/certs/ca-certificates.crt")
    added = [
        package("libc6-dev", "glibc", "library", "The C library, linked statically", "LGPL-2.1-or-later"),
        package("ca-certificates", "ca-certificates", "data", "The roots of the public certificate authorities", "MPL-2.0")
        | {"hashes": [sha256(roots)]},
    ]
    document["components"] += added
    for entry in document.get("dependencies", []):
        if entry["ref"] == program["bom-ref"]:
            entry.setdefault("dependsOn", []).extend(component["bom-ref"] for component in added)
    document["dependencies"] += [{"ref": component["bom-ref"]} for component in added]
    text = json.dumps(document, indent=1, sort_keys=True)
    print(without_paths(text))


def package(name, component, kind, description, license_):
    """A component out of a package of the machine that builds."""
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version} ${Architecture}", name], capture_output=True, text=True, check=False)
    version, _, architecture = asked.stdout.partition(" ")
    found = {
        "type": kind,
        "bom-ref": f"image:{component}",
        "name": component,
        "description": description,
        "licenses": [{"license": {"id": license_}}],
    }
    if asked.returncode == 0:
        found |= {"version": version, "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}"}
    return found


def sha256(path):
    with open(path, "rb") as file:
        return {"alg": "SHA-256", "content": hashlib.file_digest(file, "sha256").hexdigest()}


def strip_paths(component):
    component["purl"] = component.get("purl", "").split("?download_url=file", maxsplit=1)[0] or None
    if component["purl"] is None:
        del component["purl"]


def without_paths(text):
    return text.replace(f"path+file://{os.getcwd()}", "path+file:///sidecloak")


if __name__ == "__main__":
    main()
