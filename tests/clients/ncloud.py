#!/usr/bin/env python3
"""Real clients against our NAVER Cloud KMS face: `ncloud.py clients URL ACCESS_KEY SECRET_KEY`, and a tester that knows nothing but
its OpenAPI document: `ncloud.py document URL ACCESS_KEY SECRET_KEY OPENAPI_FILE`. Ends with 0 if all did as they should.
Beside a sidecar with the same key: `ncloud.py bare URL ACCESS_KEY SECRET_KEY KEY_TAG PLACE` opens and seals what the JSON file
PLACE has as `open` and `seal`, and prints what came of it."""
import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import requests


def sign(method, target, access_key, secret_key):
    """As the vendor's documentation signs."""
    timestamp = str(int(time.time() * 1000))
    message = f"{method} {target}\n{timestamp}\n{access_key}".encode()
    signature = base64.b64encode(hmac.new(secret_key.encode(), message, hashlib.sha256).digest()).decode()
    return {
        "x-ncp-apigw-timestamp": timestamp,
        "x-ncp-iam-access-key": access_key,
        "x-ncp-apigw-signature-v2": signature,
    }


class Signer(requests.auth.AuthBase):
    def __init__(self, access_key, secret_key):
        self.keys = access_key, secret_key

    def __call__(self, request):
        request.headers.update(sign(request.method, request.path_url, *self.keys))
        return request


def call(url, signer, method, path, body=None):
    # Like the vendor's curl lines: JSON whose content type nobody set.
    data = None if body is None else json.dumps(body)
    response = requests.request(method, url + path, data=data, auth=signer, timeout=20)
    assert response.status_code == 200, (method, path, response.status_code, response.text)
    answer = response.json()
    assert answer["code"] == "SUCCESS", answer
    return answer["data"]


def make_key(url, signer, name, key_type="AES256"):
    asked = {"keyName": name, "keyType": key_type, "isAutoRotation": False, "protectionType": "BASIC"}
    return call(url, signer, "POST", "/kms/v1/keys", asked)["keyTag"]


def documented_sample(url, access_key, secret_key):
    signer = Signer(access_key, secret_key)
    tag = make_key(url, signer, "sample")
    sealed = call(url, signer, "POST", f"/kms/v1/keys/{tag}/encrypt", {"plaintext": "dGVzdA=="})["ciphertext"]
    assert sealed.startswith("ncpkms:v1:"), sealed
    assert call(url, signer, "POST", f"/kms/v1/keys/{tag}/decrypt", {"ciphertext": sealed})["plaintext"] == "dGVzdA=="
    wrong = requests.get(f"{url}/kms/v1/keys", auth=Signer(access_key, "wrong"), timeout=20)
    assert (wrong.status_code, wrong.json()["error"]["errorCode"]) == (401, "200"), wrong.text


def httpx_ncloud(url, access_key, secret_key):
    """Without a query it signs a `?` that it does not send, so it is used with one."""
    from httpx_ncloud import NcloudClient

    client = NcloudClient(base_url=url, access_key=access_key, secret_key=secret_key)
    response = client.get("/kms/v1/keys", params={"pageNo": 1, "pageSize": 100})
    assert response.status_code == 200, response.text
    assert "sample" in [key["keyName"] for key in response.json()["data"]["keyList"]]
    wrong = NcloudClient(base_url=url, access_key=access_key, secret_key="wrong")
    assert wrong.get("/kms/v1/keys", params={"pageNo": 1}).status_code == 401


def certbot(url, access_key, secret_key):
    """The DNS plugin's client, pointed at ours: it signs paths below its base URL, with and without a query."""
    from certbot_dns_navercloud.dns_navercloud import _NaverCloudClient as Client

    client = Client(access_key, secret_key)
    client.base_url = url + "/kms/v1"
    response = client.request("GET", "/keys", params={"pageNo": 1, "pageSize": 10})
    assert response.status_code == 200, response.text
    tag = response.json()["data"]["keyList"][0]["keyTag"]
    response = client.request("POST", f"/keys/{tag}/encrypt", body={"plaintext": ["YQ==", "Yg=="]})
    assert response.status_code == 200 and len(response.json()["data"]["ciphertext"]) == 2, response.text
    assert client.request("PUT", f"/keys/{tag}/rotation-period", body={"rotationPeriod": 7}).status_code == 200
    assert Client(access_key, "wrong").make_signature("GET", "/keys", {}, "1") != client.make_signature("GET", "/keys", {}, "1")


def independent_crypto(url, access_key, secret_key):
    """What the service signs and takes, by `cryptography` alone."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    signer = Signer(access_key, secret_key)
    for name, key_type in [("clients-rsa", "RSA2048"), ("clients-ec", "ECDSA")]:
        tag = make_key(url, signer, name, key_type)
        public = call(url, signer, "POST", f"/kms/v1/keys/{tag}/get-pub-key", {})["publicKey"]
        public = serialization.load_pem_public_key(public.encode())
        data = base64.b64encode(b"message").decode()
        signature = call(url, signer, "POST", f"/kms/v1/keys/{tag}/sign", {"data": data})["signature"]
        raw = base64.b64decode(signature.split(":")[2])
        if key_type == "ECDSA":
            public.verify(raw, b"message", ec.ECDSA(hashes.SHA256()))
            continue
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
        public.verify(raw, b"message", pss, hashes.SHA256())
        oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
        sealed = "ncpkms:v1:" + base64.b64encode(public.encrypt(b"\x07" * 190, oaep)).decode()
        opened = call(url, signer, "POST", f"/kms/v1/keys/{tag}/decrypt", {"ciphertext": sealed})["plaintext"]
        assert base64.b64decode(opened) == b"\x07" * 190


def document(url, access_key, secret_key, file):
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks

    signer = Signer(access_key, secret_key)
    schema = schemathesis.openapi.from_dict(json.loads(pathlib.Path(file).read_text()))
    checks.load_all_checks()
    names = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    chosen = [checks.not_a_server_error] + [checks.CHECKS.get_one(name) for name in names]
    statuses = {}
    for number, result in enumerate(schema.get_all_operations()):
        operation = result.ok()
        key_type = "ECDSA" if operation.path.endswith(("/sign", "/verify", "/get-pub-key")) else "AES256"
        tag = make_key(url, signer, f"doc-{number}", key_type)
        seen = statuses.setdefault(f"{operation.method.upper()} {operation.path}", set())

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case):
            if "keyTag" in (case.path_parameters or {}):
                case.path_parameters["keyTag"] = tag
            response = case.call(base_url=url, auth=signer, timeout=20)
            seen.add(response.status_code)
            case.validate_response(response, checks=chosen)

        ask()
    for name, seen in statuses.items():
        print(name, sorted(seen))
    assert len(statuses) == 26, len(statuses)


def bare(url, access_key, secret_key, tag, place):
    signer = Signer(access_key, secret_key)
    place = json.loads(pathlib.Path(place).read_text())
    path = f"/kms/v1/keys/{tag}"
    opened = call(url, signer, "POST", path + "/decrypt", {"ciphertext": place["open"]})["plaintext"]
    texts = [base64.b64encode(text.encode()).decode() for text in place["seal"]]
    sealed = call(url, signer, "POST", path + "/encrypt", {"plaintext": texts})["ciphertext"]
    print(json.dumps({"open": [base64.b64decode(text).decode() for text in opened], "seal": sealed}))


def main():
    what, *arguments = sys.argv[1:]
    if what == "bare":
        return bare(*arguments)
    if what == "document":
        return document(*arguments)
    for client in [documented_sample, httpx_ncloud, certbot, independent_crypto]:
        client(*arguments)
        print(client.__name__, "ok")


if __name__ == "__main__":
    main()
