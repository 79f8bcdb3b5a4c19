#!/bin/sh
# Makes an authority that signs one certificate and is forgotten: its key is gone when this ends.
set -eu
cd "$(dirname "$0")"
umask 077
name=sidecloak-injector.sidecloak-system.svc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl ecparam -genkey -name prime256v1 -noout -out "$work/ca.key"
openssl req -x509 -new -key "$work/ca.key" -days 366 -subj /CN=sidecloak-injector-ca \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out "$work/ca.crt"
openssl ecparam -genkey -name prime256v1 -noout -out tls.key
openssl req -new -key tls.key -subj "/CN=$name" -out "$work/tls.csr"
printf 'subjectAltName=DNS:%s,DNS:%s.cluster.local\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$name" "$name" >"$work/tls.ext"
openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 365 -extfile "$work/tls.ext" -out tls.crt
printf -- '- op: add\n  path: /webhooks/0/clientConfig/caBundle\n  value: %s\n' "$(base64 <"$work/ca.crt" | tr -d '\n')" >caBundle.yaml
