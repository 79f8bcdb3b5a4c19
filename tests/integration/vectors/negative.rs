//! One vector for each way to be wrong. Each differs from one that opens in the one thing its name says.

use serde_json::{Map, Value, json};
use sidecloak::crypto::base64url;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::crypto::sign::SigningKey;
use sidecloak::secret::Secret;
use sidecloak::token::Suite;
use sidecloak::token::v1::Plain;

use super::cbor::{Array, Bytes, Cbor, Text, Uint};
use super::make::{
    CREATED, Epoch, Keys, NOT_AFTER, keyring, partition_row, private_key, signed_partition, tombstone, wrap,
};

const KEMS: &[KemSuite] = &[KemSuite::MlKem768];
const PAN: &[u8] = b"4111111111111111";

struct Corpus {
    keys: Keys,
    vectors: Vec<Value>,
}

pub fn corpus() -> Value {
    let mut corpus = Corpus { keys: Keys::generate(), vectors: Vec::new() };
    let keys = &corpus.keys;
    let epoch = keys.epoch("default", 0, &keys.shared_issuer, KEMS);
    let deterministic = keys.epoch("default", 1, &keys.shared_issuer, KEMS);
    let record = |name| partition_row(name, &signed_partition(&keys.owner, keys.partition(name, 1, 0, KEMS)));
    let partitions = [record("default"), record("tenant-a")];
    let keyring = keyring(keys, &partitions, &[&epoch, &deterministic]);

    corpus.texts(&epoch, &deterministic);
    corpus.contexts(&epoch, &deterministic);
    corpus.plaintexts(&epoch);
    corpus.signatures(&epoch);
    corpus.epochs(&epoch);
    corpus.partitions(&epoch, &partitions[1]);
    corpus.private_keys(&epoch, &keyring);
    json!({ "format": "sidecloak corpus 1", "keyring": keyring, "tokens": corpus.vectors })
}

fn header(epoch: &Epoch, suite: u8, flags: u8) -> Vec<u8> {
    [&[suite, flags][..], &epoch.id().0].concat()
}

fn pan(epoch: &Epoch, suite: Suite, record_id: Option<&[u8]>, signer: Option<&SigningKey>) -> String {
    let plain = Plain { text: PAN, is_string: true, record_id, pad: None, signer };
    let mut token = Vec::new();
    epoch.key(suite, "pan").seal(&plain, &mut token).unwrap();
    String::from_utf8(token).unwrap()
}

impl Corpus {
    fn add(&mut self, name: &str, token: &str) -> &mut Map<String, Value> {
        self.vectors.push(json!({
            "name": name, "token": token, "partition": "default", "class": "pan", "record_id": null, "opens": false,
        }));
        self.vectors.last_mut().unwrap().as_object_mut().unwrap()
    }

    fn replace(&mut self, name: &str, token: &str, member: &str, value: Value) {
        let mut replace = Map::new();
        replace.insert(member.into(), value);
        self.add(name, token).insert("replace".into(), replace.into());
    }

    /// The control: what the others are compared with does open.
    fn opens(&mut self, name: &str, token: &str) -> &mut Map<String, Value> {
        let vector = self.add(name, token);
        vector.insert("opens".into(), true.into());
        vector
    }

    fn texts(&mut self, epoch: &Epoch, deterministic: &Epoch) {
        let good = pan(epoch, Suite::Xaes, None, None);
        let gcm = pan(epoch, Suite::Gcm, None, None);
        let siv = pan(deterministic, Suite::Siv, None, None);
        for (name, token) in [("control: suite 1", &good), ("control: suite 2", &gcm), ("control: suite 3", &siv)] {
            self.opens(name, token);
        }
        let (head, body) = good.rsplit_once('.').unwrap();
        let raw = base64url::decode(gcm.rsplit_once('.').unwrap().1.as_bytes()).unwrap();
        let gcm_head = gcm.rsplit_once('.').unwrap().0;
        // 44 bytes leave the last of 59 characters two spare bits.
        let last = gcm.chars().last().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let spare = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
        for (name, token) in [
            ("empty", String::new()),
            ("the prefix alone", "sc1.".into()),
            ("no body", head.into()),
            ("an empty body", format!("{head}.")),
            ("another version", good.replacen("sc1.", "sc2.", 1)),
            ("the prefix in upper case", good.replacen("sc1.", "SC1.", 1)),
            ("white space before", format!(" {good}")),
            ("white space after", format!("{good}\n")),
            ("four parts", format!("{good}.AAAA")),
            ("a header of 9 bytes", good.replacen(&head[4..8], "", 1)),
            ("a header of 15 bytes", good.replacen("sc1.", "sc1.AQAA", 1)),
            ("base64 with padding", format!("{gcm}=")),
            ("base64url with spare bits", format!("{}{spare}", &gcm[..gcm.len() - 1])),
            ("base64 of the other alphabet", format!("{head}.+{}", &body[1..])),
            ("a length base64 cannot have", format!("{gcm}AA")),
            ("a body cut below its least length", format!("{gcm_head}.{}", base64url::encode(&raw[..27]))),
            ("a body cut", format!("{gcm_head}.{}", base64url::encode(&raw[..43]))),
            ("a body with a byte more", format!("{gcm_head}.{}", base64url::encode(&[&raw[..], &[0]].concat()))),
        ] {
            self.add(name, &token);
        }
        for (name, at) in [("a changed nonce", 0), ("a changed ciphertext", 12), ("a changed tag", 43)] {
            let mut raw = raw.clone();
            raw[at] ^= 1;
            self.add(name, &format!("{gcm_head}.{}", base64url::encode(&raw)));
        }
        for bit in [1, 2, 4, 6, 7] {
            let token = epoch.raw_token(&header(epoch, 1, 1 << bit), "pan", "", PAN);
            self.add(&format!("flag bit {bit}"), &token);
        }
        for suite in [0, 4, 0x3f, 0x42] {
            let token = epoch.raw_token(&header(epoch, suite, 0), "pan", "", PAN);
            self.add(&format!("unknown suite {suite}"), &token);
        }
        let token = deterministic.raw_token(&header(deterministic, 3, 0x20), "pan", "17", PAN);
        self.add("suite 3, bound", &token).insert("record_id".into(), "17".into());
        let token = deterministic.raw_token(&header(deterministic, 3, 8), "pan", "", &[PAN; 250].concat());
        self.add("suite 3, signed", &token);
    }

    fn contexts(&mut self, epoch: &Epoch, deterministic: &Epoch) {
        let good = pan(epoch, Suite::Xaes, None, None);
        let bound = pan(epoch, Suite::Xaes, Some(b"17"), None);
        self.add("another class", &good).insert("class".into(), "ssn".into());
        self.add("no class", &good).insert("class".into(), "".into());
        self.add("another partition", &good).insert("partition".into(), "tenant-a".into());
        self.add("a partition that does not exist", &good).insert("partition".into(), "tenant-b".into());
        self.opens("control: bound", &bound).insert("record_id".into(), "17".into());
        self.add("another record id", &bound).insert("record_id".into(), "18".into());
        self.add("bound, opened without a record id", &bound);
        self.add("bound, opened with an empty record id", &bound).insert("record_id".into(), "".into());
        self.add("not bound, opened with a record id", &good).insert("record_id".into(), "17".into());

        let swap = |token: &str, header: &[u8]| {
            format!("sc1.{}.{}", base64url::encode(header), token.rsplit_once('.').unwrap().1)
        };
        for (name, suite, flags) in [("another suite", 2, 0), ("string made a value", 1, 1), ("made signed", 1, 8)] {
            self.add(name, &swap(&good, &header(epoch, suite, flags)));
        }
        let made_bound = swap(&good, &header(epoch, 1, 0x20));
        self.add("made bound", &made_bound).insert("record_id".into(), "17".into());
        self.add("made unbound", &swap(&bound, &header(epoch, 1, 0)));
        self.add("another epoch", &swap(&good, &header(deterministic, 1, 0)));
        self.add("an unknown epoch", &swap(&good, &[1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        self.add("suite 3 under an epoch of kind 0", &pan(epoch, Suite::Siv, None, None));
        self.add("suite 1 under an epoch of kind 1", &pan(deterministic, Suite::Xaes, None, None));
        self.add("suite 2 under an epoch of kind 1", &pan(deterministic, Suite::Gcm, None, None));
    }

    /// Sealed with the right key, but not by the rules.
    fn plaintexts(&mut self, epoch: &Epoch) {
        for (name, flags, plaintext) in [
            ("a string that ends its quotes", 0, b"a\",\"b".as_slice()),
            ("a string with a control character", 0, b"a\nb"),
            ("a string with a bad escape", 0, b"\\x41"),
            ("a string cut in an escape", 0, b"abc\\"),
            ("a string that is not UTF-8", 0, b"a\xc3"),
            ("a string with 0xFF inside", 0, b"a\xffb"),
            ("a string under bit 0", 1, b"\"a string\""),
            ("two values", 1, b"1234,5678"),
            ("white space around a value", 1, b" 12345678"),
            ("white space after a value", 1, b"12345678 "),
            ("no value at all", 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("not a JSON number", 1, b"0123456789"),
            ("not a JSON literal", 1, b"Infinity"),
            ("not a JSON literal either", 1, b"NaN\xff\xff\xff\xff\xff"),
            ("a value that is not filled to 8", 1, b"true"),
            ("an unfinished object", 1, b"{\"a\":[1]"),
        ] {
            self.add(name, &epoch.raw_token(&header(epoch, 1, flags), "pan", "", plaintext));
        }
    }

    fn signatures(&mut self, epoch: &Epoch) {
        let token = pan(epoch, Suite::Xaes, None, Some(&self.keys.signers[0]));
        self.opens("control: signed", &token);
        let token = pan(epoch, Suite::Xaes, None, Some(&self.keys.signers[1]));
        self.add("a signer that is not listed", &token);
        let token = pan(epoch, Suite::Xaes, None, Some(&self.keys.shared_issuer));
        self.add("an issuer as signer", &token);

        let header = header(epoch, 2, 8);
        let other_header = [&[1], &header[1..]].concat();
        let [signer, other] = &self.keys.signers;
        let sign = |signer: &SigningKey, label: &str, parts: [&[u8]; 5]| signer.sign(label, &parts).unwrap();
        let label = "sidecloak/1 sign";
        let forged = [
            ("signed by another key", sign(other, label, [&header, b"default", b"pan", b"", PAN])),
            ("signed for another header", sign(signer, label, [&other_header, b"default", b"pan", b"", PAN])),
            ("signed for another partition", sign(signer, label, [&header, b"tenant-a", b"pan", b"", PAN])),
            ("signed for another class", sign(signer, label, [&header, b"default", b"ssn", b"", PAN])),
            ("signed for another record", sign(signer, label, [&header, b"default", b"pan", b"17", PAN])),
            ("signed for another value", sign(signer, label, [&header, b"default", b"pan", b"", b"4"])),
            ("signed under another label", sign(signer, "sidecloak/1 core", [&header, b"default", b"pan", b"", PAN])),
            ("a signature of zeros", vec![0; 3309]),
        ];
        let id = signer.verifying_key().id();
        for (name, signature) in forged {
            let token = epoch.raw_token(&header, "pan", "", &[&id[..], &signature, PAN].concat());
            self.add(name, &token);
        }
    }

    fn epochs(&mut self, good: &Epoch) {
        let token = pan(good, Suite::Xaes, None, None);
        let keys = &self.keys;
        let issuer = &keys.shared_issuer;
        let record = &good.record;
        let with = |at: usize, value: Cbor| {
            let mut record = record.clone();
            record[at] = value;
            Array(record).encode()
        };
        let encoded = Array(record.clone()).encode();
        let signature = |key: &SigningKey, label: &str, core: &[u8]| Bytes(key.sign(label, &[core]).unwrap());
        let label = "sidecloak/1 epoch record";
        // The recipient's entry, taken apart.
        let entry = record[8].array().unwrap()[0].array().unwrap().to_vec();
        let entry_with = |at: usize, value: Cbor| {
            let mut entry = entry.clone();
            entry[at] = value;
            with(8, Array(vec![Array(entry)]))
        };
        let flipped = |bytes: &Cbor| {
            let mut bytes = bytes.bytes().unwrap().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Bytes(bytes)
        };
        let foreign = keys.epoch("tenant-a", 0, issuer, KEMS);
        let elsewhere = Array(foreign.record).encode();
        let mut other_commit = good.commit;
        other_commit[31] ^= 1;
        let signed_commit =
            Epoch { dek: good.dek.clone(), commit: other_commit, record: vec![], partition: "default".into(), ..*good };
        let mut wrong_commit = record.clone();
        wrong_commit[1] = Bytes(other_commit.to_vec());
        wrong_commit[7] = signature(issuer, label, &signed_commit.core());
        wrong_commit[8] = Array(vec![wrap(&good.dek, &signed_commit.core(), &keys.recipients[0])]);
        let other_dek = Secret::from_slice(&[7; 32]).unwrap();
        // `[1, commit, …` with the 1 in two bytes; the array indefinite; a tag before it.
        let mut longer_uint = encoded.clone();
        longer_uint.splice(1..2, [0x18, 1]);
        let mut indefinite = encoded.clone();
        indefinite[0] = 0x9f;
        indefinite.push(0xff);
        let mut longer_array = encoded.clone();
        longer_array.splice(0..1, [0x98, 9]);
        let mut chunked = encoded.clone();
        chunked.splice(2..4, [0x5f, 0x58, 32]);
        chunked.insert(2 + 3 + 32, 0xff);
        let mut longer_bytes = encoded.clone();
        longer_bytes.splice(2..4, [0x59, 0, 32]);
        let mut float = encoded.clone();
        let created = float.windows(5).position(|w| w == [&[0x1a], &CREATED.to_be_bytes()[4..]].concat()).unwrap();
        float[created] = 0xfa;

        let mut cases = vec![
            ("epoch: for another partition", elsewhere),
            ("epoch: another commit", with(1, Bytes(other_commit.to_vec()))),
            ("epoch: a signed commit of another key", Array(wrong_commit).encode()),
            ("epoch: another partition's name", with(2, Text("tenant-a".into()))),
            ("epoch: another kind", with(3, Uint(2))),
            ("epoch: another time of creation", with(4, Uint(CREATED + 1))),
            ("epoch: another end", with(5, Uint(NOT_AFTER + 1))),
            ("epoch: an issuer that is not listed", {
                let mut record = record.clone();
                record[6] = Bytes(keys.signers[1].verifying_key().id().to_vec());
                record[7] = signature(&keys.signers[1], label, &good.core());
                Array(record).encode()
            }),
            ("epoch: an issuer that may make kind 2 only", {
                let mut record = record.clone();
                record[6] = Bytes(keys.private_issuer.verifying_key().id().to_vec());
                record[7] = signature(&keys.private_issuer, label, &good.core());
                Array(record).encode()
            }),
            ("epoch: another issuer's name", with(6, Bytes(keys.owner.verifying_key().id().to_vec()))),
            ("epoch: a forged signature", with(7, signature(&keys.private_issuer, label, &good.core()))),
            ("epoch: a signature under another label", with(7, signature(issuer, "sidecloak/1 core", &good.core()))),
            ("epoch: a changed signature", with(7, flipped(&record[7]))),
            ("epoch: a short signature", with(7, Bytes(vec![0; 64]))),
            ("epoch: no recipients", with(8, Array(vec![]))),
            ("epoch: a recipient without a private key", entry_with(1, Bytes(vec![9; 16]))),
            ("epoch: another KEM's number", entry_with(0, Uint(3))),
            ("epoch: a changed KEM ciphertext", entry_with(2, flipped(&entry[2]))),
            ("epoch: a short KEM ciphertext", entry_with(2, Bytes(vec![0; 32]))),
            ("epoch: a changed wrapped key", entry_with(3, flipped(&entry[3]))),
            ("epoch: a wrapped key too long", entry_with(3, Bytes(vec![0; 49]))),
            ("epoch: another key wrapped", with(8, Array(vec![wrap(&other_dek, &good.core(), &keys.recipients[0])]))),
            ("epoch: version 2", with(0, Uint(2))),
            ("epoch: text for bytes", with(1, Text("a".repeat(32)))),
            ("epoch: bytes for text", with(2, Bytes(b"default".to_vec()))),
            ("epoch: an element more", Array([&record[..], &[Uint(0)]].concat()).encode()),
            ("epoch: an element less", Array(record[..8].to_vec()).encode()),
            ("epoch: an indefinite array", indefinite),
            ("epoch: an integer in more bytes than it needs", longer_uint),
            ("epoch: an array's length in more bytes than it needs", longer_array),
            ("epoch: a string's length in more bytes than it needs", longer_bytes),
            ("epoch: a byte string in chunks", chunked),
            ("epoch: a float", float),
            ("epoch: a tag", [&[0xd9, 0xd9, 0xf7], &encoded[..]].concat()),
            ("epoch: a byte after it", [&encoded[..], &[0]].concat()),
            ("epoch: cut short", encoded[..encoded.len() - 1].to_vec()),
            ("epoch: an empty record", vec![]),
        ];
        // A record of kind 1 that ends; its token is of suite 3.
        let mut ending = keys.epoch("default", 1, issuer, KEMS);
        ending.not_after = NOT_AFTER;
        ending.record[5] = Uint(NOT_AFTER);
        ending.record[7] = signature(issuer, label, &ending.core());
        ending.record[8] = Array(vec![wrap(&ending.dek, &ending.core(), &keys.recipients[0])]);
        let kind_3 = keys.epoch("default", 3, issuer, KEMS);
        let private_kind_1 = keys.epoch("default", 1, &keys.private_issuer, KEMS);

        let stone = tombstone(&keys.owner, "default", &good.commit, NOT_AFTER);
        for (name, record) in cases.drain(..) {
            let row = json!([good.row_with(&record)]);
            self.replace(name, &token, "epochs", row);
        }
        for (name, epoch, suite) in [
            ("epoch: kind 1 with an end", &ending, Suite::Siv),
            ("epoch: kind 1 of an issuer that may make kind 2 only", &private_kind_1, Suite::Siv),
            ("epoch: kind 3", &kind_3, Suite::Xaes),
        ] {
            let token = pan(epoch, suite, None, None);
            self.replace(name, &token, "epochs", json!([epoch.row()]));
        }
        let stones = json!([{ "partition": "default", "record": hex::encode(stone) }]);
        self.replace("epoch: destroyed, the record restored", &token, "destroyed", stones);
    }

    fn partitions(&mut self, epoch: &Epoch, tenant: &Value) {
        let token = pan(epoch, Suite::Xaes, None, None);
        let keys = &self.keys;
        let fields = keys.partition("default", 1, 0, KEMS);
        let signed = |at: usize, value: Cbor| {
            let mut fields = fields.clone();
            fields[at] = value;
            signed_partition(&keys.owner, fields)
        };
        let good = signed_partition(&keys.owner, fields.clone());
        let swapped = |at: usize, value: Cbor| {
            let mut all = Cbor::decode(&good).unwrap().array().unwrap().to_vec();
            all[at] = value;
            Array(all).encode()
        };
        let issuer = |shared| Array(vec![Bytes(keys.shared_issuer.verifying_key().as_bytes().to_vec()), Uint(shared)]);
        let mut indefinite = good.clone();
        indefinite[0] = 0x9f;
        indefinite.push(0xff);
        // The version, after `[1, "default"`, in two bytes: signed as it stands.
        let mut longer = Array(fields.clone()).encode();
        longer.splice(10..11, [0x18, 1]);
        let signature = keys.owner.sign("sidecloak/1 partition", &[&longer]).unwrap();
        longer[0] = 0x89;
        longer.extend(Bytes(signature).encode());
        let labelled = keys.owner.sign("sidecloak/1 core", &[&Array(fields.clone()).encode()]).unwrap();

        let mut rows = vec![
            ("partition: signed by another key", signed_partition(&keys.shared_issuer, fields.clone())),
            ("partition: signed under another label", swapped(8, Bytes(labelled))),
            ("partition: an issuer slipped in", swapped(5, Array(vec![issuer(1), issuer(0)]))),
            ("partition: another version", swapped(2, Uint(2))),
            ("partition: paused", signed(3, Uint(2))),
            ("partition: destroyed", signed(3, Uint(3))),
            ("partition: an unknown state", signed(3, Uint(4))),
            ("partition: record version 2", signed(0, Uint(2))),
            ("partition: the issuer is no longer listed", signed(5, Array(vec![]))),
            ("partition: the issuer is not shared", signed(5, Array(vec![issuer(0)]))),
            ("partition: shared is 2", signed(5, Array(vec![issuer(2)]))),
            ("partition: bytes for its name", signed(1, Bytes(b"default".to_vec()))),
            (
                "partition: a role's bits as text",
                signed(7, Array(vec![Array(vec![Text("default".into()), Text("1".into())])])),
            ),
            ("partition: an indefinite array", indefinite),
            ("partition: an integer in more bytes than it needs", longer),
            ("partition: a byte after it", [&good[..], &[0]].concat()),
            ("partition: an element less", signed_partition(&keys.owner, fields[..7].to_vec())),
        ];
        rows.push(("partition: another one's record", hex::decode(tenant["record"].as_str().unwrap()).unwrap()));
        for (name, record) in rows {
            self.replace(name, &token, "partitions", json!([partition_row("default", &record)]));
        }
        self.replace("partition: no record", &token, "partitions", json!([]));
        let signed_token = pan(epoch, Suite::Xaes, None, Some(&self.keys.signers[0]));
        let no_signers = {
            let mut fields = self.keys.partition("default", 2, 0, KEMS);
            fields[6] = Array(vec![]);
            json!([partition_row("default", &signed_partition(&self.keys.owner, fields))])
        };
        self.replace("partition: the signer is no longer listed", &signed_token, "partitions", no_signers);
    }

    fn private_keys(&mut self, epoch: &Epoch, keyring: &Value) {
        let token = pan(epoch, Suite::Xaes, None, None);
        let keys = &self.keys;
        let master = &keys.masters[0];
        let recipient = &keys.recipients[0];
        let ek = recipient.encapsulation_key().unwrap().as_bytes().to_vec();
        let rows = keyring["private_keys"].as_array().unwrap();
        let owner = rows[0].clone();
        let recipient_row = rows[3].clone();
        let changed = |member: &str, value: Value| {
            let mut row = recipient_row.clone();
            row[member] = value;
            json!([owner, row])
        };
        let mut row = hex::decode(recipient_row["row"].as_str().unwrap()).unwrap();
        *row.last_mut().unwrap() ^= 1;
        let other_seed = keys.recipients[1].seed().to_vec();
        let other_owner =
            private_key(master, 0, keys.signers[1].verifying_key().as_bytes(), keys.signers[1].seed().expose(), "");
        let cases = [
            ("private key: changed", changed("row", hex::encode(&row).into())),
            ("private key: cut short", changed("row", hex::encode(&row[..39]).into())),
            ("private key: for another use", changed("use", 4.into())),
            ("private key: for another partition", changed("partition", "default".into())),
            ("private key: of another public key", json!([owner, private_key(master, 1, &ek, &other_seed, "")])),
            ("private key: missing", json!([owner])),
            ("private key: no owner", json!([recipient_row])),
            ("private key: another owner", json!([other_owner, recipient_row])),
        ];
        let strange = json!([base64url::encode(&[5; 32])]);
        let short = json!([base64url::encode(&[5; 31])]);
        let pinned = json!(hex::encode([5; 32]));
        for (name, rows) in cases {
            self.replace(name, &token, "private_keys", rows);
        }
        self.replace("master key: another", &token, "master_keys", strange);
        self.replace("master key: too short", &token, "master_keys", short);
        self.replace("owner: another is pinned", &token, "owner", pinned);
    }
}
