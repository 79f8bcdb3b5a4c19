#!/usr/bin/env python3
"""Checks tests/vectors/ncloud-kms.json with PyPI `cryptography` and the standard library alone: keys from a data key, nonces of
convergent keys, ciphertexts. `--make` prints the file with ciphertexts filled in."""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE = pathlib.Path(__file__).parents[1] / "vectors/ncloud-kms.json"


def pae(*parts):
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def key_for(dek, label, partition):
    info = pae(label.encode(), partition.encode())
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=b"", info=info).derive(dek)


def ciphertext(vector):
    dek, partition = bytes.fromhex(vector["dek"]), vector["partition"]
    context, plaintext = base64.b64decode(vector["context"]), base64.b64decode(vector["plaintext"])
    if vector["convergent"]:
        key = key_for(dek, "sidecloak/1 convergent", partition)
        nonce = hmac.new(key, pae(context, plaintext), hashlib.sha256).digest()[:12]
    else:
        nonce = bytes.fromhex(vector["nonce"])
    sealed = AESGCM(key_for(dek, "sidecloak/1 ncloud-kms", partition)).encrypt(nonce, plaintext, context)
    return f"ncpkms:v{vector['version']}:" + base64.b64encode(nonce + sealed).decode()


def main():
    vectors = json.loads(FILE.read_text())
    if sys.argv[1:] == ["--make"]:
        for vector in vectors:
            vector["ciphertext"] = ciphertext(vector)
        print("[\n" + ",\n".join("  " + json.dumps(vector) for vector in vectors) + "\n]")
        return
    wrong = [vector["name"] for vector in vectors if ciphertext(vector) != vector["ciphertext"]]
    if wrong or not vectors:
        sys.exit(f"do not come out: {wrong}")
    print(f"{len(vectors)} vectors agree")


if __name__ == "__main__":
    main()
