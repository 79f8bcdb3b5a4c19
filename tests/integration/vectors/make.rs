//! Makes a keyring and tokens in the form of `tests/interop/README.md`.

use serde_json::{Value, json};
use sidecloak::crypto::aead::{Gcm, Siv, Xaes};
use sidecloak::crypto::kdf::{hkdf, key_id, pae, sha256};
use sidecloak::crypto::kem::{DecapsulationKey, KemSuite};
use sidecloak::crypto::sign::SigningKey;
use sidecloak::crypto::{base64url, random};
use sidecloak::name::{Class, PartitionName};
use sidecloak::secret::Secret;
use sidecloak::token::v1::{FieldKey, Plain};
use sidecloak::token::{EpochId, Suite};

use super::cbor::{Array, Bytes, Cbor, Text, Uint};

pub const CREATED: u64 = 1_760_000_000;
pub const NOT_AFTER: u64 = CREATED + 86_400;

/// All private keys of a made-up installation.
pub struct Keys {
    pub masters: [Secret<32>; 2],
    pub owner: SigningKey,
    pub shared_issuer: SigningKey,
    pub private_issuer: SigningKey,
    pub signers: [SigningKey; 2],
    pub recipients: [DecapsulationKey; 3],
}

impl Keys {
    pub fn generate() -> Self {
        let key = || SigningKey::generate().unwrap();
        Self {
            masters: [random::secret().unwrap(), random::secret().unwrap()],
            owner: key(),
            shared_issuer: key(),
            private_issuer: key(),
            signers: [key(), key()],
            recipients: KemSuite::ALL.map(|suite| DecapsulationKey::generate(suite).unwrap()),
        }
    }

    /// Rows of private keys: some under the older of two master keys, the X-Wing key for one partition only.
    pub fn private_keys(&self) -> Vec<Value> {
        let [new, old] = &self.masters;
        let [ml_kem_768, ml_kem_1024, x_wing] = &self.recipients;
        let mut rows = vec![
            private_key(new, 0, self.owner.verifying_key().as_bytes(), self.owner.seed().expose(), ""),
            private_key(old, 4, self.shared_issuer.verifying_key().as_bytes(), self.shared_issuer.seed().expose(), ""),
            private_key(new, 5, self.signers[0].verifying_key().as_bytes(), self.signers[0].seed().expose(), ""),
        ];
        for (master, key, partition) in [(new, ml_kem_768, ""), (old, ml_kem_1024, ""), (new, x_wing, "h%2Fx.y_z-1")] {
            let ek = key.encapsulation_key().unwrap();
            rows.push(private_key(master, key.suite() as u8, ek.as_bytes(), key.seed(), partition));
        }
        rows
    }

    pub fn master_lines(&self) -> Vec<String> {
        self.masters.iter().map(|master| base64url::encode(master.expose())).collect()
    }

    /// The record's array without its signature.
    pub fn partition(&self, name: &str, version: u64, state: u64, recipients: &[KemSuite]) -> Vec<Cbor> {
        let recipients = self.recipients.iter().filter(|key| recipients.contains(&key.suite())).map(|key| {
            Array(vec![Uint(key.suite() as u64), Bytes(key.encapsulation_key().unwrap().as_bytes().to_vec())])
        });
        let issuer =
            |key: &SigningKey, shared| Array(vec![Bytes(key.verifying_key().as_bytes().to_vec()), Uint(shared)]);
        vec![
            Uint(1),
            Text(name.into()),
            Uint(version),
            Uint(state),
            Array(recipients.collect()),
            Array(vec![issuer(&self.shared_issuer, 1), issuer(&self.private_issuer, 0)]),
            Array(vec![Bytes(self.signers[0].verifying_key().as_bytes().to_vec())]),
            Array(vec![
                Array(vec![Text("default".into()), Uint(983_052)]),
                Array(vec![Text("auditor".into()), Uint(0)]),
            ]),
        ]
    }

    pub fn epoch(&self, partition: &str, kind: u8, issuer: &SigningKey, recipients: &[KemSuite]) -> Epoch {
        let dek = random::secret::<32>().unwrap();
        let commit = *hkdf::<32>(dek.expose(), &pae(&[b"sidecloak/1 epoch"])).expose();
        let not_after = if kind == 1 { 0 } else { NOT_AFTER };
        let mut epoch = Epoch { dek, commit, partition: partition.into(), kind, not_after, record: Vec::new() };
        let core = epoch.core();
        let entries = self.recipients.iter().filter(|key| recipients.contains(&key.suite()));
        let entries = entries.map(|key| wrap(&epoch.dek, &core, key)).collect();
        epoch.record = vec![
            Uint(1),
            Bytes(commit.to_vec()),
            Text(partition.into()),
            Uint(kind.into()),
            Uint(CREATED),
            Uint(not_after),
            Bytes(issuer.verifying_key().id().to_vec()),
            Bytes(issuer.sign("sidecloak/1 epoch record", &[&core]).unwrap()),
            Array(entries),
        ];
        epoch
    }
}

pub struct Epoch {
    pub dek: Secret<32>,
    pub commit: [u8; 32],
    pub partition: String,
    pub kind: u8,
    pub not_after: u64,
    pub record: Vec<Cbor>,
}

impl Epoch {
    pub fn id(&self) -> EpochId {
        EpochId(self.commit[..10].try_into().unwrap())
    }

    pub fn core(&self) -> Vec<u8> {
        pae(&[
            b"sidecloak/1 core",
            &self.commit,
            self.partition.as_bytes(),
            &[self.kind],
            &CREATED.to_le_bytes(),
            &self.not_after.to_le_bytes(),
        ])
    }

    pub fn key(&self, suite: Suite, class: &str) -> FieldKey {
        FieldKey::derive(&self.dek, self.id(), suite, &PartitionName::new(&self.partition).unwrap(), &Class::new(class))
    }

    pub fn row(&self) -> Value {
        self.row_with(&Array(self.record.clone()).encode())
    }

    pub fn row_with(&self, record: &[u8]) -> Value {
        json!({ "partition": self.partition, "epoch_id": self.id().to_string(), "record": hex::encode(record) })
    }

    /// A token made step by step, of whatever plaintext and header.
    pub fn raw_token(&self, header: &[u8], class: &str, record_id: &str, plaintext: &[u8]) -> String {
        let info = pae(&[b"sidecloak/1 field", &header[..1], self.partition.as_bytes(), class.as_bytes()]);
        let aad = pae(&[b"sidecloak/1 token", header, record_id.as_bytes()]);
        let mut text = plaintext.to_vec();
        let body = if header[0] == 3 {
            let iv = Siv::new(hkdf::<64>(self.dek.expose(), &info)).seal(&aad, &mut text).unwrap();
            [&iv[..], &text].concat()
        } else {
            let key = hkdf::<32>(self.dek.expose(), &info);
            let nonce: [u8; 24] = random::bytes().unwrap();
            let nonce = if header[0] == 2 { &nonce[12..] } else { &nonce[..] };
            let (prefix, last) = nonce.split_at(nonce.len() - 12);
            let gcm = match prefix.try_into() {
                Ok(prefix) => Xaes::new(key.expose()).derive(prefix),
                Err(_) => Gcm::new(key.expose()),
            };
            let tag = gcm.seal(last.try_into().unwrap(), &aad, &mut text).unwrap();
            [nonce, &text, &tag].concat()
        };
        format!("sc1.{}.{}", base64url::encode(header), base64url::encode(&body))
    }
}

pub fn wrap(dek: &Secret<32>, core: &[u8], recipient: &DecapsulationKey) -> Cbor {
    let ek = recipient.encapsulation_key().unwrap();
    let (kem_ct, shared) = ek.encapsulate().unwrap();
    let suite = recipient.suite() as u8;
    let info = pae(&[b"sidecloak/1 kek", &[suite], &sha256(ek.as_bytes()), &sha256(&kem_ct), core]);
    let mut wrapped = dek.expose().to_vec();
    let tag = Gcm::new(hkdf::<32>(shared.expose(), &info).expose()).seal(&[0; 12], b"", &mut wrapped).unwrap();
    wrapped.extend_from_slice(&tag);
    Array(vec![Uint(suite.into()), Bytes(key_id(ek.as_bytes()).to_vec()), Bytes(kem_ct), Bytes(wrapped)])
}

pub fn private_key(master: &Secret<32>, usage: u8, public: &[u8], seed: &[u8], partition: &str) -> Value {
    let id = hkdf::<16>(master.expose(), &pae(&[b"sidecloak/1 master id"]));
    let nonce: [u8; 24] = random::bytes().unwrap();
    let aad = pae(&[b"sidecloak/1 private", &[usage], &key_id(public), partition.as_bytes()]);
    let mut sealed = seed.to_vec();
    let tag = Xaes::new(hkdf::<32>(master.expose(), &pae(&[b"sidecloak/1 master"])).expose())
        .derive(nonce[..12].try_into().unwrap())
        .seal(nonce[12..].try_into().unwrap(), &aad, &mut sealed)
        .unwrap();
    let row = [&id.expose()[..], &nonce, &sealed, &tag].concat();
    json!({ "use": usage, "partition": partition, "public_key": hex::encode(public), "row": hex::encode(row) })
}

pub fn signed_partition(owner: &SigningKey, mut fields: Vec<Cbor>) -> Vec<u8> {
    let signature = owner.sign("sidecloak/1 partition", &[&Array(fields.clone()).encode()]).unwrap();
    fields.push(Bytes(signature));
    Array(fields).encode()
}

pub fn partition_row(name: &str, record: &[u8]) -> Value {
    json!({ "name": name, "record": hex::encode(record) })
}

pub fn tombstone(owner: &SigningKey, partition: &str, commit: &[u8], time: u64) -> Vec<u8> {
    let signature = owner.sign("sidecloak/1 destroyed", &[partition.as_bytes(), commit, &time.to_le_bytes()]).unwrap();
    Array(vec![Uint(1), Text(partition.into()), Bytes(commit.to_vec()), Uint(time), Bytes(signature)]).encode()
}

pub fn keyring(keys: &Keys, partitions: &[Value], epochs: &[&Epoch]) -> Value {
    json!({
        "master_keys": keys.master_lines(),
        "owner": hex::encode(sha256(keys.owner.verifying_key().as_bytes())),
        "private_keys": keys.private_keys(),
        "partitions": partitions,
        "epochs": epochs.iter().map(|epoch| epoch.row()).collect::<Vec<_>>(),
        "destroyed": [],
    })
}

/// The corpus `tokens.json`.
pub fn tokens() -> Value {
    use KemSuite::{MlKem768, XWing};
    let keys = Keys::generate();
    let record = |name, version, state, recipients: &[KemSuite]| {
        partition_row(name, &signed_partition(&keys.owner, keys.partition(name, version, state, recipients)))
    };
    let partitions = [
        record("default", 1, 0, &[MlKem768]),
        record("tenant-a", 70_000, 1, &KemSuite::ALL),
        record("h%2Fx.y_z-1", 24, 0, &[XWing]),
    ];
    let random = keys.epoch("default", 0, &keys.shared_issuer, &[MlKem768]);
    let deterministic = keys.epoch("default", 1, &keys.owner, &[MlKem768]);
    let all_kems = keys.epoch("tenant-a", 0, &keys.owner, &KemSuite::ALL);
    let ml_kem_1024 = keys.epoch("tenant-a", 1, &keys.shared_issuer, &[KemSuite::MlKem1024]);
    let private = keys.epoch("tenant-a", 2, &keys.private_issuer, &[MlKem768]);
    let x_wing = keys.epoch("h%2Fx.y_z-1", 0, &keys.shared_issuer, &[XWing]);

    let mut tokens = Vec::new();
    let mut add = |name: &str, epoch: &Epoch, suite, class: &str, plain: &Plain<'_>| {
        let mut token = Vec::new();
        epoch.key(suite, class).seal(plain, &mut token).unwrap();
        tokens.push(json!({
            "name": name,
            "token": String::from_utf8(token).unwrap(),
            "partition": epoch.partition,
            "class": class,
            "record_id": plain.record_id.map(|id| std::str::from_utf8(id).unwrap()),
            "is_string": plain.is_string,
            "text": std::str::from_utf8(plain.text).unwrap(),
            "pad": plain.pad,
            "signer": plain.signer.map(|signer| hex::encode(signer.verifying_key().id())),
        }));
    };
    let string =
        |text: &'static str| Plain { text: text.as_bytes(), is_string: true, record_id: None, pad: None, signer: None };
    let other = |text: &'static str| Plain { is_string: false, ..string(text) };
    let signer = Some(&keys.signers[0]);

    for (epoch, suite) in [(&random, Suite::Xaes), (&random, Suite::Gcm), (&deterministic, Suite::Siv)] {
        let name = suite.name();
        let mut add =
            |what: &str, class: &str, plain: Plain<'_>| add(&format!("{name}: {what}"), epoch, suite, class, &plain);
        add("a card number", "pan", string("4111111111111111"));
        add("the empty string", "note", string(""));
        add("the empty string, padded", "note", Plain { pad: Some(16), ..string("") });
        add("escapes come back as they were", "name", string(r#"Zo\u00eb \"quoted\" \/ \\ \ud83d\ude00"#));
        add("raw UTF-8, a class beyond ASCII", "straße", string("Zoë 😀"));
        add("true, filled to 8", "active", other("true"));
        add("null, padded beyond 8", "active", Plain { pad: Some(3), ..other("null") });
        add("a number's lexeme", "amount", other("1.10"));
        add("20 digits", "amount", other("12345678901234567890"));
        add("an object's span", "address", other("{ \"zip\": \"10115\" ,\n \"no\":1e3 }"));
        add("padded to 32, an empty class", "", Plain { pad: Some(32), ..string("male") });
        if suite == Suite::Siv {
            continue;
        }
        add("bound", "ssn", Plain { record_id: Some(b"cus_17"), ..string("123-45-6789") });
        add(
            "bound beyond ASCII, padded",
            "ssn",
            Plain { record_id: Some("ä😀".as_bytes()), pad: Some(32), ..other("7") },
        );
        add("signed", "iban", Plain { signer, ..string("DE89370400440532013000") });
        add("signed, empty", "iban", Plain { signer, ..string("") });
        add(
            "signed, bound, padded, no string",
            "iban",
            Plain { signer, record_id: Some(b"1"), pad: Some(8), ..other("[1,2]") },
        );
    }
    add("a lone surrogate", &random, Suite::Xaes, "name", &string(r"\ud800"));
    add("ML-KEM-768, ML-KEM-1024 and X-Wing", &all_kems, Suite::Xaes, "pan", &string("4111111111111111"));
    add("ML-KEM-1024 alone", &ml_kem_1024, Suite::Siv, "pan", &string("4111111111111111"));
    add("an epoch of one process", &private, Suite::Gcm, "pan", &string("4111111111111111"));
    add("X-Wing, a partition with all kinds of characters", &x_wing, Suite::Xaes, "pan", &string("4111111111111111"));

    let epochs = [&random, &deterministic, &all_kems, &ml_kem_1024, &private, &x_wing];
    json!({ "format": "sidecloak corpus 1", "keyring": keyring(&keys, &partitions, &epochs), "tokens": tokens })
}
