//! Opens a vector: keyring rows → partition record → epoch record → data key → token.

use serde_json::Value;
use serde_json::value::RawValue;
use sidecloak::crypto::aead::{Gcm, Xaes};
use sidecloak::crypto::base64url;
use sidecloak::crypto::kdf::{hkdf, key_id, pae, sha256};
use sidecloak::crypto::kem::{DecapsulationKey, KemSuite};
use sidecloak::crypto::sign::{SigningKey, VerifyingKey};
use sidecloak::name::{Class, PartitionName};
use sidecloak::secret::Secret;
use sidecloak::token::v1::{FieldKey, PrefixCache, parse};
use sidecloak::token::{EpochId, Suite};

use super::cbor::{Array, Cbor};

pub struct Opened {
    pub text: String,
    pub is_string: bool,
    pub signer: Option<[u8; 16]>,
}

type Result<T> = std::result::Result<T, String>;

pub fn open(keyring: &Value, vector: &Value) -> Result<Opened> {
    let text = |member: &str| vector[member].as_str().ok_or_else(|| format!("no {member}"));
    let token = parse(text("token")?.as_bytes()).map_err(|e| e.to_string())?;
    let name = text("partition")?;
    let private = private_keys(keyring)?;
    let owner = owner(keyring, &private)?;
    let partition = partition(keyring, name, &owner)?;
    let (kind, dek) = epoch(keyring, name, token.epoch, &partition, &owner, &private)?;
    if (kind == 1) != (token.suite == Suite::Siv) {
        return Err("the epoch is of another kind".into());
    }
    let key = FieldKey::derive(
        &dek,
        token.epoch,
        token.suite,
        &PartitionName::new(name).map_err(|e| e.to_string())?,
        &Class::new(text("class")?),
    );
    let record_id = vector["record_id"].as_str().map(str::as_bytes);
    let opened = key.open(&token, record_id, &partition.signers, &PrefixCache::new(1)).map_err(|e| e.to_string())?;
    let value = String::from_utf8(opened.text.expose().to_vec()).map_err(|_| "not UTF-8")?;
    let lexeme = if opened.is_string { format!("\"{value}\"") } else { value.clone() };
    let scanned: &RawValue = serde_json::from_str(&lexeme).map_err(|_| "not JSON")?;
    if scanned.get() != lexeme || (!opened.is_string && lexeme.starts_with('"')) {
        return Err("not what bit 0 says".into());
    }
    Ok(Opened { text: value, is_string: opened.is_string, signer: opened.signer })
}

struct Private {
    usage: u8,
    public: Vec<u8>,
    seed: Vec<u8>,
}

struct Partition {
    issuers: Vec<(VerifyingKey, bool)>,
    signers: Vec<VerifyingKey>,
}

fn private_keys(keyring: &Value) -> Result<Vec<Private>> {
    let mut keys = Vec::new();
    for row in keyring["private_keys"].as_array().ok_or("no private_keys")? {
        let usage = u8::try_from(row["use"].as_u64().ok_or("no use")?).map_err(|e| e.to_string())?;
        let public = bytes(&row["public_key"])?;
        let wrapped = bytes(&row["row"])?;
        let (id, rest) = wrapped.split_first_chunk::<16>().ok_or("short row")?;
        let master = masters(keyring)?
            .into_iter()
            .find(|m| hkdf::<16>(m, &pae(&[b"sidecloak/1 master id"])).expose() == id)
            .ok_or("no such master key")?;
        let (nonce, rest) = rest.split_first_chunk::<24>().ok_or("short row")?;
        let (seed, tag) = rest.split_last_chunk::<16>().ok_or("short row")?;
        let mut seed = seed.to_vec();
        let partition = row["partition"].as_str().ok_or("no partition")?;
        let aad = pae(&[b"sidecloak/1 private", &[usage], &key_id(&public), partition.as_bytes()]);
        Xaes::new(hkdf::<32>(&master, &pae(&[b"sidecloak/1 master"])).expose())
            .derive(nonce[..12].try_into().unwrap())
            .open(nonce[12..].try_into().unwrap(), &aad, &mut seed, tag)
            .map_err(|e| e.to_string())?;
        if public_key(usage, &seed)? != public {
            return Err("the public key is another".into());
        }
        keys.push(Private { usage, public, seed });
    }
    Ok(keys)
}

fn public_key(usage: u8, seed: &[u8]) -> Result<Vec<u8>> {
    if let Some(suite) = KemSuite::from_byte(usage) {
        let key = DecapsulationKey::from_seed(suite, seed).and_then(|key| key.encapsulation_key());
        return key.map(|ek| ek.as_bytes().to_vec()).map_err(|e| e.to_string());
    }
    let seed = Secret::from_slice(seed).filter(|_| matches!(usage, 0 | 4 | 5)).ok_or("not a key")?;
    Ok(SigningKey::from_seed(seed).verifying_key().as_bytes().to_vec())
}

fn masters(keyring: &Value) -> Result<Vec<Vec<u8>>> {
    let lines = keyring["master_keys"].as_array().ok_or("no master_keys")?;
    lines
        .iter()
        .map(|line| base64url::decode(line.as_str()?.as_bytes()))
        .collect::<Option<_>>()
        .ok_or_else(|| "master".into())
}

fn owner(keyring: &Value, private: &[Private]) -> Result<VerifyingKey> {
    let owner = private.iter().find(|key| key.usage == 0).ok_or("no owner")?;
    if let Some(pinned) = keyring["owner"].as_str()
        && pinned != hex::encode(sha256(&owner.public))
    {
        return Err("another owner".into());
    }
    VerifyingKey::from_bytes(&owner.public).map_err(|e| e.to_string())
}

fn partition(keyring: &Value, name: &str, owner: &VerifyingKey) -> Result<Partition> {
    let row = keyring["partitions"].as_array().ok_or("no partitions")?.iter().find(|row| row["name"] == name);
    let record = Cbor::decode(&bytes(&row.ok_or("no such partition")?["record"])?).ok_or("not deterministic CBOR")?;
    let malformed = "malformed partition record";
    let fields = record.array().filter(|fields| fields.len() == 9).ok_or(malformed)?;
    let signed = Array(fields[..8].to_vec()).encode();
    owner
        .verify("sidecloak/1 partition", &[&signed], fields[8].bytes().ok_or(malformed)?)
        .map_err(|e| e.to_string())?;
    (|| {
        if fields[0].uint()? != 1 || fields[1].text()? != name || fields[2].uint().is_none() || fields[3].uint()? > 1 {
            return None;
        }
        for recipient in fields[4].array()? {
            let [suite, ek] = recipient.array()? else { return None };
            KemSuite::from_byte(u8::try_from(suite.uint()?).ok()?)?;
            ek.bytes()?;
        }
        for role in fields[7].array()? {
            let [role, bits] = role.array()? else { return None };
            role.text()?;
            bits.uint()?;
        }
        Some(Partition {
            issuers: fields[5]
                .array()?
                .iter()
                .map(|entry| {
                    let [vk, shared] = entry.array()? else { return None };
                    let shared = shared.uint().filter(|shared| *shared < 2)? == 1;
                    Some((VerifyingKey::from_bytes(vk.bytes()?).ok()?, shared))
                })
                .collect::<Option<_>>()?,
            signers: fields[6]
                .array()?
                .iter()
                .map(|vk| VerifyingKey::from_bytes(vk.bytes()?).ok())
                .collect::<Option<_>>()?,
        })
    })()
    .ok_or_else(|| malformed.into())
}

fn epoch(
    keyring: &Value,
    name: &str,
    id: EpochId,
    partition: &Partition,
    owner: &VerifyingKey,
    private: &[Private],
) -> Result<(u64, Secret<32>)> {
    for destroyed in keyring["destroyed"].as_array().into_iter().flatten() {
        if tombstone(&bytes(&destroyed["record"])?, owner).ok_or("malformed tombstone")?[..10] == id.0 {
            return Err("the epoch is destroyed".into());
        }
    }
    let row = keyring["epochs"].as_array().ok_or("no epochs")?.iter().find(|row| row["epoch_id"] == id.to_string());
    let record = Cbor::decode(&bytes(&row.ok_or("no such epoch")?["record"])?).ok_or("not deterministic CBOR")?;
    let malformed = "malformed epoch record";
    let Some([version, commit, stored, kind, created, not_after, issuer, signature, recipients]) = record.array()
    else {
        return Err(malformed.into());
    };
    let commit: [u8; 32] = commit.bytes().and_then(|c| c.try_into().ok()).ok_or(malformed)?;
    let (kind, created, not_after) =
        (kind.uint().ok_or(malformed)?, created.uint().ok_or(malformed)?, not_after.uint().ok_or(malformed)?);
    if version.uint() != Some(1) || kind > 2 || (kind == 1 && not_after != 0) {
        return Err(malformed.into());
    }
    if stored.text() != Some(name) || commit[..10] != id.0 {
        return Err("not the record asked for".into());
    }
    let core = pae(&[
        b"sidecloak/1 core",
        &commit,
        name.as_bytes(),
        &[u8::try_from(kind).unwrap()],
        &created.to_le_bytes(),
        &not_after.to_le_bytes(),
    ]);
    let mut issuers = partition.issuers.clone();
    issuers.push((owner.clone(), true));
    let issuer = issuer.bytes().ok_or(malformed)?;
    let (issuer, shared) = issuers.iter().find(|(vk, _)| vk.id() == issuer).ok_or("the issuer is not listed")?;
    if !shared && kind != 2 {
        return Err("the issuer may not make this kind".into());
    }
    issuer
        .verify("sidecloak/1 epoch record", &[&core], signature.bytes().ok_or(malformed)?)
        .map_err(|e| e.to_string())?;
    for entry in recipients.array().ok_or(malformed)? {
        let Some([suite, ek_id, kem_ct, wrapped]) = entry.array() else { return Err(malformed.into()) };
        let suite = suite.uint().and_then(|s| KemSuite::from_byte(u8::try_from(s).ok()?)).ok_or(malformed)?;
        let (ek_id, kem_ct) = (ek_id.bytes().ok_or(malformed)?, kem_ct.bytes().ok_or(malformed)?);
        let wrapped: [u8; 48] = wrapped.bytes().and_then(|w| w.try_into().ok()).ok_or(malformed)?;
        let Some(key) = private.iter().find(|key| key.usage == suite as u8 && key_id(&key.public) == ek_id) else {
            continue;
        };
        let dk = DecapsulationKey::from_seed(suite, &key.seed).map_err(|e| e.to_string())?;
        let shared = dk.decapsulate(kem_ct).map_err(|e| e.to_string())?;
        let info = pae(&[b"sidecloak/1 kek", &[suite as u8], &sha256(&key.public), &sha256(kem_ct), &core]);
        let mut dek = wrapped[..32].to_vec();
        Gcm::new(hkdf::<32>(shared.expose(), &info).expose())
            .open(&[0; 12], b"", &mut dek, wrapped[32..].try_into().unwrap())
            .map_err(|e| e.to_string())?;
        if hkdf::<32>(&dek, &pae(&[b"sidecloak/1 epoch"])).expose() != &commit {
            return Err("the commitment is of another key".into());
        }
        return Ok((kind, Secret::from_slice(&dek).unwrap()));
    }
    Err("no private key for this epoch".into())
}

fn tombstone(record: &[u8], owner: &VerifyingKey) -> Option<[u8; 32]> {
    let record = Cbor::decode(record)?;
    let [version, partition, commit, time, signature] = record.array()? else { return None };
    let commit = <[u8; 32]>::try_from(commit.bytes()?).ok()?;
    let time = time.uint()?.to_le_bytes();
    owner
        .verify("sidecloak/1 destroyed", &[partition.text()?.as_bytes(), &commit, &time], signature.bytes()?)
        .ok()
        .filter(|()| version.uint() == Some(1))?;
    Some(commit)
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    value.as_str().and_then(|text| hex::decode(text).ok()).ok_or_else(|| "not hexadecimal".into())
}
