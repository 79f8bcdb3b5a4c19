// Opens the tokens of a corpus (see ../README.md), written from docs/token-format.md alone.

import { readFileSync } from 'node:fs';
import { aessiv, cmac, gcm } from '@noble/ciphers/aes.js';
import { hkdf as hkdfOf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';

const SIGNATURE = 3309;
const KEMS = { 1: ml_kem768, 2: ml_kem1024, 3: ml_kem768_x25519 };

class Refused extends Error {}

function check(holds, why) {
  if (!holds) throw new Refused(why);
}

// What a library throws for hostile input is a refusal; what this file throws by mistake is not caught here.
function refusing(why, attempt) {
  try {
    return attempt();
  } catch {
    throw new Refused(why);
  }
}

// --- Notation

const bytesOf = (part) =>
  typeof part === 'string' ? Buffer.from(part, 'utf8') : typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part);

function pae(...parts) {
  return Buffer.concat(
    parts.map(bytesOf).flatMap((part) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(part.length);
      return [length, part];
    }),
  );
}

function time(seconds) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(seconds);
  return bytes;
}

const hkdf = (ikm, info, length) => Buffer.from(hkdfOf(sha256, ikm, undefined, info, length));
const keyId = (publicKey) => Buffer.from(sha256(publicKey)).subarray(0, 16);
const fromHex = (text) => Buffer.from(text, 'hex');
const equal = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

function base64url(text) {
  const bytes = Buffer.from(text, 'base64url');
  check(/^[A-Za-z0-9_-]*$/.test(text) && bytes.toString('base64url') === text, 'not canonical base64url');
  return bytes;
}

function verify(publicKey, signature, label, ...parts) {
  const holds = refusing('not a key or signature', () => ml_dsa65.verify(signature, pae(label, ...parts), publicKey));
  check(holds, 'a signature does not verify');
}

const aesGcm = (key, nonce, sealed, aad) =>
  refusing('does not authenticate', () => Buffer.from(gcm(key, nonce, aad).decrypt(sealed)));

function xaes(key, nonce, sealed, aad) {
  check(nonce.length === 24, 'a short nonce');
  const half = (counter) => cmac(Buffer.concat([Buffer.from([0, counter, 0x58, 0]), nonce.subarray(0, 12)]), key);
  return aesGcm(Buffer.concat([half(1), half(2)]), nonce.subarray(12), sealed, aad);
}

const aesSiv = (key, sealed, aad) =>
  refusing('does not authenticate', () => Buffer.from(aessiv(key, aad).decrypt(sealed)));

// --- CBOR: unsigned integers become BigInt, byte strings Buffer, text string, arrays Array

function cbor(record) {
  let at = 0;
  const take = (length) => {
    check(at + length <= record.length, 'a record cut short');
    at += length;
    return record.subarray(at - length, at);
  };
  const item = (depth) => {
    const [first] = take(1);
    const [major, short] = [first >> 5, first & 31];
    check(short < 28, 'an indefinite length');
    let value = BigInt(short);
    if (short >= 24) {
      const width = 1 << (short - 24);
      value = BigInt('0x' + take(width).toString('hex'));
      check(value >= (width === 1 ? 24n : 1n << BigInt(4 * width)), 'a number in more bytes than it needs');
    }
    if (major === 0) return value;
    check(value <= BigInt(record.length), 'a record cut short');
    if (major === 2) return take(Number(value));
    if (major === 3) {
      const bytes = take(Number(value));
      return refusing('a name that is not UTF-8', () => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    }
    check(major === 4 && depth > 0, 'a type that records do not have');
    const items = [];
    for (let left = value; left > 0n; left--) items.push(item(depth - 1));
    return items;
  };
  const value = item(4);
  check(at === record.length, 'bytes after the record');
  return value;
}

function encode(value) {
  if (Array.isArray(value)) return Buffer.concat([head(4, BigInt(value.length)), ...value.map(encode)]);
  if (typeof value === 'bigint') return head(0, value);
  const bytes = bytesOf(value);
  return Buffer.concat([head(typeof value === 'string' ? 3 : 2, BigInt(bytes.length)), bytes]);
}

function head(major, value) {
  if (value < 24n) return Buffer.from([(major << 5) | Number(value)]);
  const power = [0, 1, 2, 3].find((power) => value < 1n << (8n << BigInt(power)));
  const digits = value.toString(16).padStart(2 << power, '0');
  return Buffer.concat([Buffer.from([(major << 5) | (24 + power)]), fromHex(digits)]);
}

// A shape is 'uint', 'bytes' or 'text', an array of shapes one for each element, or { each: shape }.
function shaped(value, shape) {
  if (Array.isArray(shape)) {
    check(Array.isArray(value) && value.length === shape.length, 'a record of another length');
    shape.forEach((inner, i) => shaped(value[i], inner));
  } else if (typeof shape === 'object') {
    check(Array.isArray(value), 'a field of another type');
    value.forEach((inner) => shaped(inner, shape.each));
  } else {
    const type = { bigint: 'uint', string: 'text' }[typeof value] ?? (Buffer.isBuffer(value) ? 'bytes' : 'array');
    check(type === shape, 'a field of another type');
  }
  return value;
}

// --- Keyring

class Keyring {
  constructor(rows) {
    this.rows = rows;
    this.loaded = new Map();
    this.masters = rows.master_keys.map(base64url);
    check(this.masters.every((master) => master.length === 32), 'a master key is not 32 bytes');
    this.privateKeys = rows.private_keys.map((row) => this.unwrap(row));
    this.owner = this.privateKeys.find((key) => key.use === 0)?.publicKey;
    check(this.owner, 'no owner');
    const ownerHash = Buffer.from(sha256(this.owner)).toString('hex');
    check((rows.owner ?? ownerHash) === ownerHash, 'another owner is pinned');
    this.destroyed = rows.destroyed.map((row) => this.tombstone(fromHex(row.record)));
  }

  // Verifies and unwraps each record once.
  once(what, load) {
    if (!this.loaded.has(what)) this.loaded.set(what, load());
    return this.loaded.get(what);
  }

  unwrap({ use, partition, public_key, row }) {
    const [publicKey, sealed] = [fromHex(public_key), fromHex(row)];
    const isOf = (master) => equal(hkdf(master, pae('sidecloak/1 master id'), 16), sealed.subarray(0, 16));
    const master = this.masters.find(isOf);
    check(master, 'no such master key');
    const aad = pae('sidecloak/1 private', use, keyId(publicKey), partition);
    const key = hkdf(master, pae('sidecloak/1 master'), 32);
    const seed = xaes(key, sealed.subarray(16, 40), sealed.subarray(40), aad);
    const scheme = KEMS[use] ?? ([0, 4, 5].includes(use) ? ml_dsa65 : undefined);
    check(scheme, 'an unknown use');
    const pair = refusing('not a private key', () => scheme.keygen(seed));
    check(equal(pair.publicKey, publicKey), 'a seed of another public key');
    return { use, publicKey, secretKey: pair.secretKey };
  }

  tombstone(record) {
    const [version, partition, commit, when, signature] = shaped(cbor(record), ['uint', 'text', 'bytes', 'uint', 'bytes']);
    check(version === 1n && commit.length === 32, 'an unknown version');
    verify(this.owner, signature, 'sidecloak/1 destroyed', partition, commit, time(when));
    return commit.subarray(0, 10);
  }

  partition(name) {
    const row = this.rows.partitions.find((row) => row.name === name);
    check(row, 'no such partition');
    const fields = shaped(cbor(fromHex(row.record)), [
      'uint',
      'text',
      'uint',
      'uint',
      { each: ['uint', 'bytes'] },
      { each: ['bytes', 'uint'] },
      { each: 'bytes' },
      { each: ['text', 'uint'] },
      'bytes',
    ]);
    const [version, stored, , state, recipients, issuers, signers, , signature] = fields;
    verify(this.owner, signature, 'sidecloak/1 partition', encode(fields.slice(0, 8)));
    check(version === 1n && stored === name, 'not the record asked for');
    check(state <= 1n, 'paused, destroyed or unknown');
    check(recipients.every(([suite]) => suite >= 1n && suite <= 3n), 'an unknown KEM');
    check(issuers.every(([, shared]) => shared <= 1n), 'shared is neither 0 nor 1');
    return { issuers: [...issuers, [this.owner, 1n]], signers };
  }

  epoch(name, epochId, issuers) {
    check(!this.destroyed.some((id) => equal(id, epochId)), 'the epoch is destroyed');
    const row = this.rows.epochs.find((row) => row.epoch_id === epochId.toString('hex'));
    check(row, 'no such epoch');
    const [version, commit, partition, kind, created, notAfter, issuerId, signature, entries] = shaped(
      cbor(fromHex(row.record)),
      ['uint', 'bytes', 'text', 'uint', 'uint', 'uint', 'bytes', 'bytes', { each: ['uint', 'bytes', 'bytes', 'bytes'] }],
    );
    check(version === 1n && commit.length === 32 && kind <= 2n, 'an unknown version or kind');
    check(kind !== 1n || notAfter === 0n, 'a deterministic epoch that ends');
    check(partition === name && equal(commit.subarray(0, 10), epochId), 'not the record asked for');
    const core = pae('sidecloak/1 core', commit, partition, Number(kind), time(created), time(notAfter));
    const issuer = issuers.find(([vk]) => equal(keyId(vk), issuerId));
    check(issuer, 'the issuer is not listed');
    check(issuer[1] === 1n || kind === 2n, 'the issuer may not make this kind');
    verify(issuer[0], signature, 'sidecloak/1 epoch record', core);
    for (const [suite, ekId, kemCt, wrapped] of entries) {
      const isOf = (key) => BigInt(key.use) === suite && KEMS[key.use] && equal(keyId(key.publicKey), ekId);
      const key = this.privateKeys.find(isOf);
      if (!key) continue;
      const ss = refusing('not a KEM ciphertext', () => KEMS[key.use].decapsulate(kemCt, key.secretKey));
      const kek = hkdf(ss, pae('sidecloak/1 kek', key.use, sha256(key.publicKey), sha256(kemCt), core), 32);
      check(wrapped.length === 48, 'a wrapped key of another length');
      const dek = aesGcm(kek, Buffer.alloc(12), wrapped, Buffer.alloc(0));
      check(equal(hkdf(dek, pae('sidecloak/1 epoch'), 32), commit), 'a commitment to another key');
      return { kind, dek };
    }
    throw new Refused('no private key for this epoch');
  }
}

// --- Tokens

const HEAD = { 1: 24, 2: 12, 3: 16 };

function openToken(keyring, vector) {
  const parts = vector.token.split('.');
  check(parts.length === 3 && parts[0] === 'sc1', 'not three parts');
  const [header, body] = [base64url(parts[1]), base64url(parts[2])];
  check(header.length === 12, 'the header is not 12 bytes');
  const [suite, flags] = header;
  check(suite in HEAD, 'an unknown suite');
  check((flags & ~0b101001) === 0, 'unknown flags');
  check(suite !== 3 || (flags & ~1) === 0, 'a deterministic value is neither signed nor bound');
  const [isString, signed, bound] = [!(flags & 1), !!(flags & 8), !!(flags & 32)];
  const least = HEAD[suite] + (suite === 3 ? 0 : 16) + (signed ? 16 + SIGNATURE : 0) + (isString ? 0 : 8);
  check(body.length >= least, 'the body is too short');
  const { partition: name, class: fieldClass } = vector;
  const recordId = vector.record_id ?? undefined;
  check(bound === (recordId !== undefined) && recordId !== '', 'bound, or not');

  const { issuers, signers } = keyring.once(`partition ${name}`, () => keyring.partition(name));
  const epochId = header.subarray(2);
  const { kind, dek } = keyring.once(`epoch ${name} ${epochId.toString('hex')}`, () => keyring.epoch(name, epochId, issuers));
  check((kind === 1n) === (suite === 3), 'an epoch of another kind');
  const key = hkdf(dek, pae('sidecloak/1 field', suite, name, fieldClass), suite === 3 ? 64 : 32);
  const aad = pae('sidecloak/1 token', header, recordId ?? '');
  const [nonce, sealed] = [body.subarray(0, HEAD[suite]), body.subarray(HEAD[suite])];
  let plain = suite === 3 ? aesSiv(key, body, aad) : (suite === 1 ? xaes : aesGcm)(key, nonce, sealed, aad);

  let signature, signer;
  if (signed) {
    signer = plain.subarray(0, 16);
    signature = plain.subarray(16, 16 + SIGNATURE);
    plain = plain.subarray(16 + SIGNATURE);
  }
  let length = plain.length;
  while (length > 0 && plain[length - 1] === 0xff) length--;
  const value = plain.subarray(0, length);
  if (signed) {
    const listed = signers.find((vk) => equal(keyId(vk), signer));
    check(listed, 'the signer is not listed');
    verify(listed, signature, 'sidecloak/1 sign', header, name, fieldClass, recordId ?? '', value);
  }
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const text = refusing('not UTF-8', () => decoder.decode(value));
  const lexeme = isString ? `"${text}"` : text;
  refusing('not JSON', () => JSON.parse(lexeme));
  check(!/^[ \t\r\n]|[ \t\r\n]$/.test(lexeme) && lexeme.startsWith('"') === isString, 'not what bit 0 says');
  return { text, is_string: isString, signer: signer ? signer.toString('hex') : null };
}

// --- Corpora

function main(args) {
  const printing = args.includes('--print');
  let checked = 0;
  for (const path of args.filter((arg) => arg !== '--print')) {
    const corpus = JSON.parse(readFileSync(path, 'utf8'));
    check(corpus.format === 'sidecloak corpus 1', 'a corpus of another format');
    let loaded;
    for (const vector of corpus.tokens) {
      let opened, why;
      try {
        const keyring = vector.replace ? new Keyring({ ...corpus.keyring, ...vector.replace }) : (loaded ??= new Keyring(corpus.keyring));
        opened = openToken(keyring, vector);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        why = error.message;
      }
      if (printing) console.log(JSON.stringify({ name: vector.name, ...(opened ?? { refused: why }) }));
      const wrong = ['text', 'is_string', 'signer'].find((member) => opened && member in vector && vector[member] !== opened[member]);
      if ((vector.opens ?? true) !== !!opened || wrong) {
        console.error(`${path}: ${vector.name}: ${wrong ? `another ${wrong}` : (why ?? 'opened')}`);
        return 1;
      }
      checked++;
    }
  }
  check(checked > 0, 'no vectors');
  console.log(`ok ${checked}`);
  return 0;
}

process.exitCode = main(process.argv.slice(2));
