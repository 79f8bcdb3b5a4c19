"""Opens the tokens of a corpus (see ../README.md), written from docs/token-format.md alone."""

import base64
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SIGNATURE = 3309


class Refused(Exception):
    """Why something does not open."""


def check(holds, why):
    if not holds:
        raise Refused(why)


# --- Notation


def pae(*parts):
    return b"".join(len(part).to_bytes(4, "little") + part for part in map(as_bytes, parts))


def as_bytes(part):
    if isinstance(part, int):
        return bytes([part])
    return part.encode() if isinstance(part, str) else part


def time(seconds):
    return seconds.to_bytes(8, "little")


def hkdf(ikm, info, length):
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(ikm)


def sha256(data):
    return hashlib.sha256(data).digest()


def key_id(public):
    return sha256(public)[:16]


def b64url(text):
    check(re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII) and len(text) % 4 != 1, "not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    check(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "base64url is not canonical")
    return data


def verify(public, signature, label, *parts):
    try:
        MLDSA65PublicKey.from_public_bytes(public).verify(signature, pae(label, *parts))
    except (InvalidSignature, ValueError) as error:
        raise Refused("a signature does not verify") from error


def aes_gcm(key, nonce, sealed, aad):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError) as error:
        raise Refused("does not authenticate") from error


def xaes(key, nonce, sealed, aad):
    check(len(nonce) == 24, "a short nonce")
    derived = b""
    for counter in (1, 2):
        mac = CMAC(algorithms.AES(key))
        mac.update(bytes([0, counter]) + b"X\0" + nonce[:12])
        derived += mac.finalize()
    return aes_gcm(derived, nonce[12:], sealed, aad)


def aes_siv(key, sealed, aad):
    try:
        return AESSIV(key).decrypt(sealed, [aad])
    except (InvalidTag, ValueError) as error:
        raise Refused("does not authenticate") from error


# --- CBOR


def cbor(data):
    value, rest = cbor_item(data, 4)
    check(not rest, "bytes after the record")
    return value


def cbor_item(data, depth):
    check(data, "a record cut short")
    major, short = data[0] >> 5, data[0] & 31
    check(short < 28, "an indefinite length")
    width = 0 if short < 24 else 1 << (short - 24)
    check(len(data) > width, "a record cut short")
    value = short if width == 0 else int.from_bytes(data[1 : 1 + width], "big")
    check(width == 0 or value >= (24 if width == 1 else 1 << (4 * width)), "a number in more bytes than it needs")
    rest = data[1 + width :]
    if major == 0:
        return value, rest
    if major in (2, 3):
        check(len(rest) >= value, "a record cut short")
        taken = rest[:value]
        try:
            return (taken if major == 2 else taken.decode()), rest[value:]
        except UnicodeDecodeError as error:
            raise Refused("a name that is not UTF-8") from error
    check(major == 4 and depth > 0, "a type that records do not have")
    items = []
    for _ in range(value):
        item, rest = cbor_item(rest, depth - 1)
        items.append(item)
    return items, rest


def shaped(value, shape):
    """`shape` is a type, a list of one shape for each element, or a tuple of the one shape that all have."""
    if isinstance(shape, type):
        check(type(value) is shape, "a field of another type")
    elif isinstance(shape, tuple):
        check(isinstance(value, list), "a field of another type")
        for item in value:
            shaped(item, shape[0])
    else:
        check(isinstance(value, list) and len(value) == len(shape), "a record of another length")
        for item, inner in zip(value, shape):
            shaped(item, inner)
    return value


# --- Keyring


class Keyring:
    def __init__(self, rows):
        self.rows = rows
        masters = [b64url(line) for line in rows["master_keys"]]
        check(all(len(master) == 32 for master in masters), "a master key is not 32 bytes")
        self.masters = {hkdf(master, pae("sidecloak/1 master id"), 16): master for master in masters}
        self.private = [self.unwrap(row) for row in rows["private_keys"]]
        owners = [public for use, public, _ in self.private if use == 0]
        check(owners, "no owner")
        self.owner = owners[0]
        check(rows.get("owner") in (None, sha256(self.owner).hex()), "another owner is pinned")
        self.destroyed = {self.tombstone(bytes.fromhex(row["record"])) for row in rows["destroyed"]}

    def unwrap(self, row):
        sealed, public, use = bytes.fromhex(row["row"]), bytes.fromhex(row["public_key"]), row["use"]
        master = self.masters.get(sealed[:16])
        check(master is not None, "no such master key")
        aad = pae("sidecloak/1 private", use, key_id(public), row["partition"])
        seed = xaes(hkdf(master, pae("sidecloak/1 master"), 32), sealed[16:40], sealed[40:], aad)
        check(public_key(use, seed) == public, "a seed of another public key")
        return use, public, seed

    def tombstone(self, record):
        version, partition, commit, when, signature = shaped(cbor(record), [int, str, bytes, int, bytes])
        check(version == 1 and len(commit) == 32, "an unknown version")
        verify(self.owner, signature, "sidecloak/1 destroyed", partition, commit, time(when))
        return commit[:10]

    def partition(self, name):
        rows = [row for row in self.rows["partitions"] if row["name"] == name]
        check(rows, "no such partition")
        fields = cbor(bytes.fromhex(rows[0]["record"]))
        shaped(fields, [int, str, int, int, ([int, bytes],), ([bytes, int],), (bytes,), ([str, int],), bytes])
        verify(self.owner, fields[8], "sidecloak/1 partition", cbor_array(fields[:8]))
        version, stored, _, state, recipients, issuers, signers, _, _ = fields
        check(version == 1 and stored == name, "not the record asked for")
        check(state in (0, 1), "paused, destroyed or unknown")
        check(all(suite in (1, 2, 3) for suite, _ in recipients), "an unknown KEM")
        check(all(shared in (0, 1) for _, shared in issuers), "shared is neither 0 nor 1")
        return issuers + [[self.owner, 1]], signers

    def epoch(self, name, epoch_id, issuers):
        check(epoch_id not in self.destroyed, "the epoch is destroyed")
        rows = [row for row in self.rows["epochs"] if row["epoch_id"] == epoch_id.hex()]
        check(rows, "no such epoch")
        fields = cbor(bytes.fromhex(rows[0]["record"]))
        shaped(fields, [int, bytes, str, int, int, int, bytes, bytes, ([int, bytes, bytes, bytes],)])
        version, commit, partition, kind, created, not_after, issuer_id, signature, entries = fields
        check(version == 1 and len(commit) == 32 and kind in (0, 1, 2), "an unknown version or kind")
        check(kind != 1 or not_after == 0, "a deterministic epoch that ends")
        check(partition == name and commit[:10] == epoch_id, "not the record asked for")
        core = pae("sidecloak/1 core", commit, partition, kind, time(created), time(not_after))
        issuer, shared = next(((vk, shared) for vk, shared in issuers if key_id(vk) == issuer_id), (None, 0))
        check(issuer is not None, "the issuer is not listed")
        check(shared or kind == 2, "the issuer may not make this kind")
        verify(issuer, signature, "sidecloak/1 epoch record", core)
        for suite, ek_id, kem_ct, wrapped in entries:
            for use, ek, seed in self.private:
                if use == suite and key_id(ek) == ek_id and suite in (1, 2, 3):
                    ss = decapsulate(suite, seed, kem_ct)
                    kek = hkdf(ss, pae("sidecloak/1 kek", suite, sha256(ek), sha256(kem_ct), core), 32)
                    check(len(wrapped) == 48, "a wrapped key of another length")
                    dek = aes_gcm(kek, bytes(12), wrapped, b"")
                    check(hkdf(dek, pae("sidecloak/1 epoch"), 32) == commit, "a commitment to another key")
                    return kind, dek
        raise Refused("no private key for this epoch")


def cbor_array(items):
    """What deterministic CBOR makes of an array."""
    return cbor_head(4, len(items)) + b"".join(map(cbor_value, items))


def cbor_value(value):
    if isinstance(value, int):
        return cbor_head(0, value)
    if isinstance(value, list):
        return cbor_array(value)
    data = as_bytes(value)
    return cbor_head(3 if isinstance(value, str) else 2, len(data)) + data


def cbor_head(major, value):
    for short, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << (8 * width):
            return bytes([major << 5 | short]) + value.to_bytes(width, "big")
    raise Refused("a number too large")


def public_key(use, seed):
    try:
        if use in (0, 4, 5):
            return MLDSA65PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
        if use == 3:
            ml_kem, x25519 = x_wing(seed)
            return ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return {1: MLKEM768PrivateKey, 2: MLKEM1024PrivateKey}[use].from_seed_bytes(seed).public_key().public_bytes_raw()
    except (ValueError, KeyError) as error:
        raise Refused("not a private key") from error


def x_wing(seed):
    check(len(seed) == 32, "not a seed of X-Wing")
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])


def decapsulate(suite, seed, kem_ct):
    try:
        if suite == 3:
            check(len(kem_ct) == 1120, "a KEM ciphertext of another length")
            ml_kem, x25519 = x_wing(seed)
            ct_x, pk_x = kem_ct[1088:], x25519.public_key().public_bytes_raw()
            shared = ml_kem.decapsulate(kem_ct[:1088]) + x25519.exchange(X25519PublicKey.from_public_bytes(ct_x))
            return hashlib.sha3_256(shared + ct_x + pk_x + rb"\.//^" + b"\\").digest()
        return {1: MLKEM768PrivateKey, 2: MLKEM1024PrivateKey}[suite].from_seed_bytes(seed).decapsulate(kem_ct)
    except ValueError as error:
        raise Refused("not a KEM ciphertext") from error


# --- Tokens

HEAD = {1: 24, 2: 12, 3: 16}


def open_token(keyring, vector):
    parts = vector["token"].split(".")
    check(len(parts) == 3 and parts[0] == "sc1", "not three parts")
    header, body = b64url(parts[1]), b64url(parts[2])
    check(len(header) == 12, "the header is not 12 bytes")
    suite, flags, epoch_id = header[0], header[1], header[2:]
    check(suite in HEAD, "an unknown suite")
    check(flags & ~0b101001 == 0, "unknown flags")
    check(suite != 3 or flags & ~1 == 0, "a deterministic value is neither signed nor bound")
    is_string, signed, bound = not flags & 1, bool(flags & 8), bool(flags & 32)
    least = HEAD[suite] + (0 if suite == 3 else 16) + (16 + SIGNATURE if signed else 0) + (0 if is_string else 8)
    check(len(body) >= least, "the body is too short")
    record_id = vector["record_id"]
    check(bound == bool(record_id) and record_id != "", "bound, or not")

    name, cls = vector["partition"], vector["class"]
    issuers, signers = keyring.partition(name)
    kind, dek = keyring.epoch(name, epoch_id, issuers)
    check((kind == 1) == (suite == 3), "an epoch of another kind")
    key = hkdf(dek, pae("sidecloak/1 field", suite, name, cls), 64 if suite == 3 else 32)
    aad = pae("sidecloak/1 token", header, record_id or "")
    nonce, sealed = body[: HEAD[suite]], body[HEAD[suite] :]
    if suite == 1:
        plain = xaes(key, nonce, sealed, aad)
    elif suite == 2:
        plain = aes_gcm(key, nonce, sealed, aad)
    else:
        plain = aes_siv(key, body, aad)

    signer = None
    if signed:
        signer, signature, plain = plain[:16], plain[16 : 16 + SIGNATURE], plain[16 + SIGNATURE :]
    value = plain.rstrip(b"\xff")
    if signed:
        listed = [vk for vk in signers if key_id(vk) == signer]
        check(listed, "the signer is not listed")
        verify(listed[0], signature, "sidecloak/1 sign", header, name, cls, record_id or "", value)
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error
    scan(text, is_string)
    return {"text": text, "is_string": is_string, "signer": signer and signer.hex()}


def scan(text, is_string):
    lexeme = f'"{text}"' if is_string else text

    def constant(_):
        raise ValueError

    try:
        value = json.loads(lexeme, parse_constant=constant, parse_int=str, parse_float=float)
    except (ValueError, RecursionError) as error:
        raise Refused("not JSON") from error
    check(lexeme == lexeme.strip(" \t\r\n") and lexeme.startswith('"') == is_string, "not what bit 0 says")
    return value


# --- Corpora


def main(arguments):
    printing = "--print" in arguments
    checked = 0
    for path in arguments:
        if path == "--print":
            continue
        with open(path, encoding="utf-8") as file:
            corpus = json.load(file)
        check(corpus["format"] == "sidecloak corpus 1", "a corpus of another format")
        for vector in corpus["tokens"]:
            opened, why = None, None
            try:
                opened = open_token(Keyring(corpus["keyring"] | vector.get("replace", {})), vector)
            except Refused as refused:
                why = str(refused)
            if printing:
                print(json.dumps({"name": vector["name"]} | (opened or {"refused": why}), ensure_ascii=False))
            if vector.get("opens", True) != (opened is not None):
                sys.exit(f"{path}: {vector['name']}: {'opened' if opened else why}")
            for member in ("text", "is_string", "signer") if opened else ():
                if member in vector and vector[member] != opened[member]:
                    sys.exit(f"{path}: {vector['name']}: another {member}")
            checked += 1
    check(checked, "no vectors")
    print(f"ok {checked}")


if __name__ == "__main__":
    main(sys.argv[1:])
