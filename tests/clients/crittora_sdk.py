"""The vendor's own client (sync, async, log-in through boto3) and its documented requests, against what serves its API here.

Usage: crittora_sdk.py PLACE, a JSON file with the addresses and credentials to use. Prints `ok N`, N cases: those that need
the service at another time are left out where PLACE has none. Whom to trust is told by the clients' own variables."""

import asyncio
import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    PLACE = json.load(file)

os.environ.update(
    AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=PLACE["url"],
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_MAX_ATTEMPTS="1",
)

import boto3
import requests
from botocore.exceptions import ClientError
from crittora import (
    ApiCredentials,
    AsyncCrittoraClient,
    BearerTokenAuth,
    CognitoAuthProvider,
    CognitoConfig,
    CrittoraClient,
    Permission,
)
from crittora.exceptions import AuthError, DecryptError, EncryptError, RateLimitError, ValidationError
from crittora.models import EncryptRequest, RetryOptions

TEXTS = ["x", "4111 1111 1111 1111", "żółć 😀 \u2028", '{"a": "\\n"}', "\0\t\"\\", "z" * 100_000]
CASES = []


def case(run):
    CASES.append(run)
    return run


def log_in(user="alice", password=None):
    provider = CognitoAuthProvider(CognitoConfig(user_pool_id="us-east-1_pool", client_id="sdk"))
    provider.login(username=user, password=password or PLACE["password"])
    return provider


def credentials(partner="acme", **changed):
    return ApiCredentials(**{**PLACE["partners"][partner], **changed})


def client(partner="acme", url="url", auth=None, **changed):
    return CrittoraClient(
        base_url=PLACE[url], credentials=credentials(partner, **changed), auth=auth or log_in(), timeout=60
    )


def fails(kind, status, message, run):
    try:
        run()
    except kind as error:
        assert error.status_code == status, error.status_code
        found = error.details and error.details.get("message")
        assert found == message, found
        assert error.request_id is None or len(error.request_id) == 36, error.request_id
        assert (error.request_id is None) == (status is None)
        return
    raise AssertionError("it did not fail")


@case
def both_workflows():
    with client() as ours:
        for text in TEXTS:
            assert ours.decrypt(ours.encrypt(text).encrypted_data).decrypted_data == text
            verified = ours.decrypt_verify(ours.sign_encrypt(text).encrypted_data)
            assert verified.decrypted_data == text
            assert verified.is_valid_signature is True
            assert verified.signed_by == "alice"
            assert len(verified.signed_timestamp) == len("2025-10-19T17:28:27.659100+00:00")


@case
def both_workflows_async():
    async def run():
        async with AsyncCrittoraClient(base_url=PLACE["url"], credentials=credentials(), auth=log_in()) as ours:
            for text in TEXTS:
                encrypted = await ours.encrypt(text)
                assert (await ours.decrypt(encrypted.encrypted_data)).decrypted_data == text
                signed = await ours.sign_encrypt(text)
                verified = await ours.decrypt_verify(signed.encrypted_data)
                assert (verified.decrypted_data, verified.is_valid_signature) == (text, True)
            many = await asyncio.gather(*(ours.encrypt(f"text {n}") for n in range(50)))
            opened = await asyncio.gather(*(ours.decrypt(one.encrypted_data) for one in many))
            assert [one.decrypted_data for one in opened] == [f"text {n}" for n in range(50)]

    asyncio.run(run())


@case
def wrong_credentials():
    auth = log_in()
    for changed in ({"api_key": "wrong"}, {"access_key": "wrong"}, {"secret_key": "wrong"}):
        wrong = client(auth=auth, **changed)
        fails(EncryptError, 403, "Forbidden", lambda: wrong.encrypt("x"))
        fails(DecryptError, 403, "Forbidden", lambda: wrong.decrypt("x"))
    nobody = client(auth=BearerTokenAuth("no.such.token"))
    fails(EncryptError, 401, "Unauthorized", lambda: nobody.sign_encrypt("x"))
    anonymous = CrittoraClient(base_url=PLACE["url"], credentials=credentials())
    fails(EncryptError, 401, "Unauthorized", lambda: anonymous.encrypt("x"))
    api_key_alone = client(auth=auth, access_key=None, secret_key=None)
    assert api_key_alone.encrypt("x").encrypted_data
    fails(ValidationError, None, None, lambda: api_key_alone.encrypt(""))


@case
def wrong_values():
    ours = client()
    encrypted = ours.encrypt("x").encrypted_data
    signed = ours.sign_encrypt("x").encrypted_data
    message = "encrypted_data does not open: it is damaged, or not for this partner"
    for broken in (encrypted[:-1], encrypted + "A", "A" + encrypted[1:], "garbage", encrypted[: len(encrypted) // 2]):
        fails(DecryptError, 400, message, lambda: ours.decrypt(broken))
    fails(DecryptError, 400, "encrypted_data is signed: call decrypt-verify", lambda: ours.decrypt(signed))
    fails(DecryptError, 400, "encrypted_data is not signed: call decrypt", lambda: ours.decrypt_verify(encrypted))
    other = client("beta")
    fails(DecryptError, 400, message, lambda: other.decrypt(encrypted))
    fails(DecryptError, 400, message, lambda: other.decrypt_verify(signed))
    paused = client("paused")
    fails(EncryptError, 403, "Forbidden: the partition is paused", lambda: paused.encrypt("x"))
    role = "Forbidden: the role of the user or of the api_key does not allow this"
    writer = client("writer")
    written = writer.encrypt("x").encrypted_data
    fails(DecryptError, 403, role, lambda: writer.decrypt(written))
    assert ours.decrypt(written).decrypted_data == "x"


@case
def permissions():
    ours, other, third = client(), client("beta"), client("gamma")
    for actions in (["d"], ["read"], []):
        given = [Permission(partner_id="beta", actions=actions)]
        shared = ours.encrypt(EncryptRequest(data="shared", permissions=given)).encrypted_data
        signed = ours.sign_encrypt("shared", permissions=given).encrypted_data
        for partner in (ours, other):
            assert partner.decrypt(shared, permissions=given).decrypted_data == "shared"
            assert partner.decrypt_verify(signed).decrypted_data == "shared"
        for run in (lambda: third.decrypt(shared), lambda: third.decrypt_verify(signed)):
            fails(DecryptError, 400, "encrypted_data does not open: it is damaged, or not for this partner", run)
    write = [Permission(partner_id="beta", actions=["write"])]
    message = 'no other permission than "d" (or "read", "decrypt": to open the value) and "v" is offered'
    fails(EncryptError, 400, message, lambda: ours.encrypt("x", permissions=write))


@case
def bad_log_ins():
    for user, password in (("carol", "wrong-wrong"), ("nobody", "wrong-wrong")):
        try:
            log_in(user, password)
        except AuthError as error:
            assert error.__cause__.response["Error"] == {
                "Code": "NotAuthorizedException",
                "Message": "Incorrect username or password.",
            }
            assert error.__cause__.response["ResponseMetadata"]["HTTPStatusCode"] == 400
            assert len(error.__cause__.response["ResponseMetadata"]["RequestId"]) == 36
        else:
            raise AssertionError("it did not fail")


@case
def what_cognito_offers_and_we_do_not():
    cognito = boto3.client("cognito-idp")
    for run in (
        lambda: cognito.sign_up(ClientId="sdk", Username="mallory", Password="Passw0rd!x"),
        lambda: cognito.get_user(AccessToken="x"),
        lambda: cognito.revoke_token(ClientId="sdk", Token="x"),
    ):
        try:
            run()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "UnknownOperationException", error
        else:
            raise AssertionError("it did not fail")


@case
def tokens_are_renewed():
    cognito = boto3.client("cognito-idp")
    asked = {"ClientId": "sdk", "AuthFlow": "USER_PASSWORD_AUTH"}
    given = cognito.initiate_auth(**asked, AuthParameters={"USERNAME": "alice", "PASSWORD": PLACE["password"]})
    refresh = {"REFRESH_TOKEN": given["AuthenticationResult"]["RefreshToken"]}
    renewed = cognito.initiate_auth(ClientId="sdk", AuthFlow="REFRESH_TOKEN_AUTH", AuthParameters=refresh)
    ours = client(auth=BearerTokenAuth(renewed["AuthenticationResult"]["IdToken"]))
    assert ours.encrypt("x").encrypted_data


def tokens_expire_and_are_renewed():
    cognito = boto3.client("cognito-idp")
    given = cognito.initiate_auth(
        ClientId="sdk",
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "alice", "PASSWORD": PLACE["password"]},
    )["AuthenticationResult"]
    assert (given["ExpiresIn"], given["TokenType"]) == (3600, "Bearer")
    old = client(auth=BearerTokenAuth(given["IdToken"]))
    encrypted = old.encrypt("x").encrypted_data
    # The same service, an hour later.
    late = client(url="an_hour_later", auth=BearerTokenAuth(given["IdToken"]))
    fails(DecryptError, 401, "Unauthorized", lambda: late.decrypt(encrypted))
    then = boto3.client("cognito-idp", endpoint_url=PLACE["an_hour_later"])
    renewed = then.initiate_auth(
        ClientId="sdk", AuthFlow="REFRESH_TOKEN_AUTH", AuthParameters={"REFRESH_TOKEN": given["RefreshToken"]}
    )["AuthenticationResult"]
    assert "RefreshToken" not in renewed
    late = client(url="an_hour_later", auth=BearerTokenAuth(renewed["IdToken"]))
    assert late.decrypt(encrypted).decrypted_data == "x"


@case
def too_many_requests():
    auth = log_in()
    hasty = client(url="limited", auth=auth)
    try:
        for _ in range(20):
            hasty.encrypt("x")
    except EncryptError as error:
        assert isinstance(error.__cause__, RateLimitError)
        assert (error.status_code, error.details) == (429, {"message": "Too Many Requests"})
    else:
        raise AssertionError("there was no limit")
    patient = CrittoraClient(
        base_url=PLACE["limited"],
        credentials=credentials("beta"),
        auth=auth,
        retry=RetryOptions(max_attempts=10, backoff_seconds=0.25),
    )
    for _ in range(6):
        assert patient.encrypt("x").encrypted_data


@case
def the_documented_managed_requests():
    url = PLACE["url"] + "/v1/"
    headers = {
        "username": "alice",
        "password": PLACE["password"],
        **PLACE["partners"]["acme"],
        "Content-Type": "application/json",
    }

    def post(call, body, **changed):
        return requests.post(url + call, headers={**headers, **changed}, data=json.dumps(body), timeout=60)

    answer = post("encrypt", {"data": "sensitive data"})
    encrypted = answer.json()["body"]["encrypted_data"]
    assert answer.json() == {"statusCode": 200, "body": {"encrypted_data": encrypted}}
    assert post("decrypt", {"encrypted_data": encrypted}).json()["body"] == {"decrypted_data": "sensitive data"}
    signed = post("sign-encrypt", {"data": "sensitive data"}).json()["body"]["encrypted_data"]
    verified = post("decrypt-verify", {"encrypted_data": signed}).json()["body"]
    assert verified.pop("signed_timestamp").endswith("+00:00")
    assert verified == {"decrypted_data": "sensitive data", "is_valid_signature": True, "signed_by": "alice"}
    wrong = post("encrypt", {"data": "x"}, password="wrong-wrong", username="dave")
    assert (wrong.status_code, wrong.json()["message"]) == (500, "Username and/or Password Incorrect")
    assert wrong.json()["body"] == {"error": "Username and/or Password Incorrect"}
    wrong = post("encrypt", {"data": "x"}, api_key="wrong")
    assert (wrong.status_code, wrong.json()) == (403, {"message": "Forbidden"})
    assert post("encrypt", {"data": ""}).status_code == 400


if "an_hour_later" in PLACE:
    case(tokens_expire_and_are_renewed)

for run in CASES:
    try:
        run()
    except BaseException:
        print("FAILED", run.__name__, file=sys.stderr)
        raise
print("ok", len(CASES))
