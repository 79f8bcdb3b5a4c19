"""Speaks to the ExeQuantum face with PyPI `cryptography` on this side: argv is its URL and an API key."""

import json
import sys
import urllib.request

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

base, key = sys.argv[1:]


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"Authorization": "bearer " + key})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


# Its key pair: we verify, encapsulate, and it decapsulates with the sk that it gave and with the one that it kept.
pair = {name: bytes.fromhex(value) for name, value in call("/api/kem/generate_keys").items()}
MLDSA65PublicKey.from_public_bytes(pair["verification_key"]).verify(pair["verification_signature"], pair["pk"])
shared, cipher = MLKEM768PublicKey.from_public_bytes(pair["pk"]).encapsulate()
for by in ({"sk": pair["sk"].hex()}, {"pk": pair["pk"].hex()}):
    assert call("/api/kem/decapsulate_key", {"cipher": cipher.hex(), **by}) == {"shared_key": shared.hex()}

# Our key pairs: it encapsulates, and decapsulates with our seed.
ours = MLKEM768PrivateKey.generate()
pk = ours.public_key().public_bytes_raw()
signer = MLDSA65PrivateKey.generate()
sent = {"pk": pk.hex(), "signature": signer.sign(pk).hex(), "verif_key": signer.public_key().public_bytes_raw().hex()}
carried = call("/api/kem/encapsulate_key", sent)
assert ours.decapsulate(bytes.fromhex(carried["cipher"])).hex() == carried["shared_key"]
later = call("/api/v1/pqc/kem/encapsulate/", {"algorithm": "ML-KEM-768", "encapsulation_key": pk.hex()})
assert ours.decapsulate(bytes.fromhex(later["ciphertext"])).hex() == later["shared_secret"]
sent = {"ciphertext": later["ciphertext"], "decapsulation_key": ours.private_bytes_raw().hex()}
assert call("/api/v1/pqc/kem/decapsulate/", sent)["shared_secret"] == later["shared_secret"]

# Signatures in both directions, over UTF-8.
text = "grüße, 世界"
signed = {name: bytes.fromhex(value) for name, value in call("/api/signature/sign", {"data": text}).items()}
MLDSA65PublicKey.from_public_bytes(signed["pk"]).verify(signed["signature"], text.encode())
public, signature = signer.public_key().public_bytes_raw().hex(), signer.sign(text.encode()).hex()
assert call("/api/signature/verify", {"data": text, "pk": public, "signature": signature}) == {"verified": True}
assert call("/api/signature/verify", {"data": "x", "pk": public, "signature": signature}) == {"verified": False}
sent = {"message": text, "secret_key": signer.private_bytes_raw().hex()}
signer.public_key().verify(bytes.fromhex(call("/api/v1/pqc/sign/sign/", sent)["signature"]), text.encode())

# AES under the last shared key, which is the one of `later`'s predecessor in the first generation.
aes = AESGCM(bytes.fromhex(carried["shared_key"]))
sealed = bytes.fromhex(call("/api/aes/encrypt_text", {"unencrypted": text}))
assert aes.decrypt(sealed[:12], sealed[12:], None).decode() == text
nonce = bytes(range(12))
sent = {"ciphertext": (nonce + aes.encrypt(nonce, text.encode(), None)).hex(), "key": carried["shared_key"]}
assert call("/api/aes/decrypt_text", sent) == text

print("ok")
