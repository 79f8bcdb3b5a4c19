#!/usr/bin/env bash
# The vendor's curl lines with the host replaced: ncloud.sh URL ACCESS_KEY SECRET_KEY KEY_TAG. Prints the value that came back.
set -euo pipefail
url=$1 access=$2 secret=$3 tag=$4

# call METHOD TARGET [BODY]
call() {
  local time signature
  time=$(date +%s000)
  signature=$(printf '%s %s\n%s\n%s' "$1" "$2" "$time" "$access" | openssl dgst -sha256 -hmac "$secret" -binary | openssl enc -base64)
  curl --silent --show-error --location --max-time 20 --request "$1" "$url$2" \
    --header "x-ncp-apigw-timestamp: $time" \
    --header "x-ncp-iam-access-key: $access" \
    --header "x-ncp-apigw-signature-v2: $signature" \
    ${3:+--data "$3"}
}

# with_token TOKEN TARGET BODY
with_token() {
  curl --silent --show-error --location --max-time 20 --request POST "$url$2" --header "x-ncp-ocapi-token: $1" --data "$3"
}

member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

ciphertext=$(call POST "/kms/v1/keys/$tag/encrypt" '{ "plaintext": "MTIzLTQ1LTY3ODk=" }' | member ciphertext)
call GET "/kms/v1/keys?pageNo=1&pageSize=1" | grep -q '"code":"SUCCESS"'
call POST "/kms/v1/keys/$tag/rotate" | grep -q '"version":2'
token=$(call POST "/kms/v1/keys/$tag/token-set" '{ "accessTokenHours": 72, "refreshTokenHours": 2160 }' | member accessToken)
with_token "$token" "/kms/v1/keys/$tag/decrypt" "{ \"ciphertext\": \"$ciphertext\" }" | member plaintext
