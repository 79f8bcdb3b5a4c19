// Speaks to the ExeQuantum face with npm @noble/post-quantum on this side: its arguments are its URL and an API key.

import { ml_dsa65 } from "@noble/post-quantum/ml-dsa.js";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";

const [base, key] = process.argv.slice(-2);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));

async function call(path, body) {
  const answer = await fetch(base + path, {
    method: body === undefined ? "GET" : "POST",
    headers: { Authorization: `auth_token ${key}` },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

function same(a, b) {
  if (a !== b) throw new Error(`${a} is not ${b}`);
}

// Expanded keys, which other libraries may not read: of ML-KEM in both directions,
const pair = await call("/api/kem/generate_keys");
same(ml_dsa65.verify(bytes(pair.signature), bytes(pair.pk), bytes(pair.verification_key)), true);
const carried = await call("/api/kem/encapsulate_key", {
  pk: pair.pk,
  signature: pair.signature,
  verif_key: pair.verification_key,
});
same(hex(ml_kem768.decapsulate(bytes(carried.cipher), bytes(pair.sk))), carried.shared_key);
const ours = ml_kem768.keygen();
const { cipherText, sharedSecret } = ml_kem768.encapsulate(ours.publicKey);
const taken = await call("/api/kem/decapsulate_key", { cipher: hex(cipherText), sk: hex(ours.secretKey) });
same(taken.shared_key, hex(sharedSecret));

// and of ML-DSA.
const message = new TextEncoder().encode("grüße");
const signed = await call("/api/signature/sign", { data: "grüße" });
same(ml_dsa65.verify(bytes(signed.signature), message, bytes(signed.pk)), true);
same(ml_dsa65.verify(ml_dsa65.sign(message, bytes(signed.sk)), message, bytes(signed.pk)), true);
const signer = ml_dsa65.keygen();
const again = await call("/api/v1/pqc/sign/sign/", { message: "grüße", secret_key: hex(signer.secretKey) });
same(ml_dsa65.verify(bytes(again.signature), message, signer.publicKey), true);
const verified = await call("/api/v1/pqc/sign/verify/", {
  message: "grüße",
  signature: hex(ml_dsa65.sign(message, signer.secretKey)),
  public_key: hex(signer.publicKey),
});
same(verified.valid, true);

console.log("ok");
