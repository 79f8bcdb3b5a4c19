"""The vendor's own client beside a sidecar of the same partner: opens what the sidecar sealed, and seals what it is to open.

Usage: crittora_bare.py PLACE, a JSON file with `url`, `password`, `partner`, `open` and `open_signed` (ciphertexts), `seal` and
`seal_signed` (texts). Prints a JSON object of the same four members with what came of them."""

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
)

from crittora import ApiCredentials, CognitoAuthProvider, CognitoConfig, CrittoraClient

provider = CognitoAuthProvider(CognitoConfig(user_pool_id="us-east-1_pool", client_id="sdk"))
provider.login(username="alice", password=PLACE["password"])


def verified(answer):
    assert answer.is_valid_signature is True
    return answer.decrypted_data


with CrittoraClient(
    base_url=PLACE["url"], credentials=ApiCredentials(**PLACE["partner"]), auth=provider, timeout=60
) as client:
    done = {
        "open": [client.decrypt(text).decrypted_data for text in PLACE["open"]],
        "open_signed": [verified(client.decrypt_verify(text)) for text in PLACE["open_signed"]],
        "seal": [client.encrypt(text).encrypted_data for text in PLACE["seal"]],
        "seal_signed": [client.sign_encrypt(text).encrypted_data for text in PLACE["seal_signed"]],
    }
print(json.dumps(done))
