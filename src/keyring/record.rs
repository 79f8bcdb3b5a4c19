//! The three signed records of a keyring: partition, epoch, tombstone. Byte for byte as `docs/token-format.md` has them.

use super::cbor::{BadRecord, Reader, Record, Writer};
use super::{Kind, Permissions, State};
use crate::crypto::RandomError;
use crate::crypto::kdf::pae;
use crate::crypto::sign::{BadSignature, SigningKey, VerifyingKey};
use crate::name::PartitionName;
use crate::token::EpochId;

const PARTITION: &str = "sidecloak/1 partition";
const EPOCH: &str = "sidecloak/1 epoch record";
const DESTROYED: &str = "sidecloak/1 destroyed";

/// Someone who may open a partition's values, as the partition record lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The KEM's number; 0x40 is a managed API.
    pub suite: u8,
    /// The encapsulation key, or a managed API's profile name.
    pub key: Vec<u8>,
}

/// Who may make epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The key that signs its epochs.
    pub key: VerifyingKey,
    /// Whether others seal under its epochs; one that is not shared makes kind 2 only.
    pub shared: bool,
}

/// What the owner says of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Its name.
    pub name: PartitionName,
    /// Grows with every change.
    pub version: u64,
    /// Its state.
    pub state: State,
    /// Whom every epoch is wrapped to.
    pub recipients: Vec<Recipient>,
    /// Who may make epochs, beside the owner.
    pub issuers: Vec<Issuer>,
    /// Who may sign values.
    pub signers: Vec<VerifyingKey>,
    /// Roles and their permissions.
    pub roles: Vec<(String, Permissions)>,
    /// The owner's signature.
    pub signature: Vec<u8>,
}

impl PartitionRecord {
    /// Signs it anew.
    pub fn sign(&mut self, owner: &SigningKey) -> Result<(), RandomError> {
        self.signature = owner.sign(PARTITION, &[&self.signed_part()])?;
        Ok(())
    }

    /// Verifies the owner's signature.
    pub fn verify(&self, owner: &VerifyingKey) -> Result<(), BadSignature> {
        owner.verify(PARTITION, &[&self.signed_part()], &self.signature)
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(8);
        self.write_fields(&mut out);
        out.into_bytes()
    }

    fn write_fields(&self, out: &mut Writer) {
        out.uint(1).text(self.name.as_str()).uint(self.version).uint(self.state as u64);
        out.list(&self.recipients, |out, r| {
            out.array(2).uint(u64::from(r.suite)).bytes(&r.key);
        });
        out.list(&self.issuers, |out, issuer| {
            out.array(2).bytes(issuer.key.as_bytes()).uint(u64::from(issuer.shared));
        });
        out.list(&self.signers, |out, signer| {
            out.bytes(signer.as_bytes());
        });
        out.list(&self.roles, |out, (name, permissions)| {
            out.array(2).text(name).uint(u64::from(permissions.0));
        });
    }
}

impl Record for PartitionRecord {
    fn write(&self, out: &mut Writer) {
        out.array(9);
        self.write_fields(out);
        out.bytes(&self.signature);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BadRecord> {
        from.array(9)?;
        from.expect(1)?;
        Ok(Self {
            name: name(from)?,
            version: from.uint()?,
            state: State::from_byte(from.byte()?).ok_or(BadRecord)?,
            recipients: from.list(|from| {
                from.array(2)?;
                Ok(Recipient { suite: from.byte()?, key: from.bytes()?.to_vec() })
            })?,
            issuers: from.list(|from| {
                from.array(2)?;
                Ok(Issuer { key: verifying_key(from)?, shared: from.flag()? })
            })?,
            signers: from.list(verifying_key)?,
            roles: from.list(|from| {
                from.array(2)?;
                let role = from.text()?.to_owned();
                Ok((role, Permissions(u32::try_from(from.uint()?).map_err(|_| BadRecord)?)))
            })?,
            signature: from.bytes()?.to_vec(),
        })
    }
}

/// What an issuer says of an epoch: never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Binds the data key; its first 10 bytes are the epoch's name.
    pub commit: [u8; 32],
    /// The partition it belongs to.
    pub partition: PartitionName,
    /// What it seals.
    pub kind: Kind,
    /// When it was made (Unix seconds).
    pub created: u64,
    /// Until when it seals (0: no end).
    pub not_after: u64,
}

impl Core {
    /// The name that tokens carry.
    pub fn id(&self) -> EpochId {
        epoch_id(&self.commit)
    }

    /// What is signed, and bound into every wrap.
    pub fn to_pae(&self) -> Vec<u8> {
        pae(&[
            b"sidecloak/1 core",
            &self.commit,
            self.partition.as_str().as_bytes(),
            &[self.kind as u8],
            &self.created.to_le_bytes(),
            &self.not_after.to_le_bytes(),
        ])
    }
}

/// The data key, wrapped to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// The KEM's number.
    pub suite: u8,
    /// Names the recipient's encapsulation key.
    pub recipient: [u8; 16],
    /// Its ciphertext.
    pub kem_ct: Vec<u8>,
    /// The data key under the key that the KEM gave.
    pub wrapped: Vec<u8>,
}

/// An epoch with its wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// What the issuer signed.
    pub core: Core,
    /// Names the issuer.
    pub issuer: [u8; 16],
    /// Its signature over the core.
    pub signature: Vec<u8>,
    /// Not signed: entries come and go with recipients.
    pub wraps: Vec<Wrap>,
}

impl EpochRecord {
    /// Signs a core.
    pub fn sign(core: Core, issuer: &SigningKey, wraps: Vec<Wrap>) -> Result<Self, RandomError> {
        let signature = issuer.sign(EPOCH, &[&core.to_pae()])?;
        Ok(Self { core, issuer: issuer.verifying_key().id(), signature, wraps })
    }

    /// Verifies the issuer's signature.
    pub fn verify(&self, issuer: &VerifyingKey) -> Result<(), BadSignature> {
        issuer.verify(EPOCH, &[&self.core.to_pae()], &self.signature)
    }
}

impl Record for EpochRecord {
    fn write(&self, out: &mut Writer) {
        let core = &self.core;
        out.array(9).uint(1).bytes(&core.commit).text(core.partition.as_str());
        out.uint(core.kind as u64).uint(core.created).uint(core.not_after);
        out.bytes(&self.issuer).bytes(&self.signature);
        out.list(&self.wraps, |out, wrap| {
            out.array(4).uint(u64::from(wrap.suite)).bytes(&wrap.recipient).bytes(&wrap.kem_ct).bytes(&wrap.wrapped);
        });
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BadRecord> {
        from.array(9)?;
        from.expect(1)?;
        let core = Core {
            commit: from.exactly()?,
            partition: name(from)?,
            kind: Kind::from_byte(from.byte()?).ok_or(BadRecord)?,
            created: from.uint()?,
            not_after: from.uint()?,
        };
        if core.kind == Kind::Deterministic && core.not_after != 0 {
            return Err(BadRecord);
        }
        let issuer = from.exactly()?;
        let signature = from.bytes()?.to_vec();
        let wraps = from.list(|from| {
            from.array(4)?;
            Ok(Wrap {
                suite: from.byte()?,
                recipient: from.exactly()?,
                kem_ct: from.bytes()?.to_vec(),
                wrapped: from.bytes()?.to_vec(),
            })
        })?;
        Ok(Self { core, issuer, signature, wraps })
    }
}

/// What is left of a destroyed epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The partition it belonged to.
    pub partition: PartitionName,
    /// Its commitment, hence its name.
    pub commit: [u8; 32],
    /// When it was destroyed (Unix seconds).
    pub time: u64,
    /// The owner's signature.
    pub signature: Vec<u8>,
}

impl Tombstone {
    /// Signs one.
    pub fn sign(
        partition: PartitionName,
        commit: [u8; 32],
        time: u64,
        owner: &SigningKey,
    ) -> Result<Self, RandomError> {
        let signature = owner.sign(DESTROYED, &[partition.as_str().as_bytes(), &commit, &time.to_le_bytes()])?;
        Ok(Self { partition, commit, time, signature })
    }

    /// Verifies the owner's signature.
    pub fn verify(&self, owner: &VerifyingKey) -> Result<(), BadSignature> {
        let parts: [&[u8]; 3] = [self.partition.as_str().as_bytes(), &self.commit, &self.time.to_le_bytes()];
        owner.verify(DESTROYED, &parts, &self.signature)
    }

    /// The epoch that it buries.
    pub fn id(&self) -> EpochId {
        epoch_id(&self.commit)
    }
}

impl Record for Tombstone {
    fn write(&self, out: &mut Writer) {
        out.array(5).uint(1).text(self.partition.as_str()).bytes(&self.commit).uint(self.time).bytes(&self.signature);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BadRecord> {
        from.array(5)?;
        from.expect(1)?;
        Ok(Self {
            partition: name(from)?,
            commit: from.exactly()?,
            time: from.uint()?,
            signature: from.bytes()?.to_vec(),
        })
    }
}

fn epoch_id(commit: &[u8; 32]) -> EpochId {
    let mut id = [0; 10];
    id.copy_from_slice(commit.split_at(10).0);
    EpochId(id)
}

fn name(from: &mut Reader<'_>) -> Result<PartitionName, BadRecord> {
    PartitionName::new(from.text()?).map_err(|_| BadRecord)
}

fn verifying_key(from: &mut Reader<'_>) -> Result<VerifyingKey, BadRecord> {
    VerifyingKey::from_bytes(from.bytes()?).map_err(|_| BadRecord)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> (SigningKey, PartitionRecord) {
        let owner = SigningKey::generate().unwrap();
        let mut record = PartitionRecord {
            name: PartitionName::default_name(),
            version: 3,
            state: State::DecryptOnly,
            recipients: vec![Recipient { suite: 1, key: vec![7; 5] }],
            issuers: vec![Issuer { key: owner.verifying_key().clone(), shared: true }],
            signers: vec![owner.verifying_key().clone()],
            roles: vec![("default".into(), Permissions::DEFAULT)],
            signature: Vec::new(),
        };
        record.sign(&owner).unwrap();
        (owner, record)
    }

    #[test]
    fn a_partition_record_comes_back_and_is_bound_by_its_signature() {
        let (owner, record) = partition();
        let bytes = record.encode();
        assert_eq!(bytes[..3], [0x89, 0x01, 0x67]);
        let mut again = PartitionRecord::decode(&bytes).unwrap();
        assert_eq!(again, record);
        again.verify(owner.verifying_key()).unwrap();
        again.state = State::Active;
        assert!(again.verify(owner.verifying_key()).is_err());
    }

    #[test]
    fn only_the_deterministic_encoding_is_taken() {
        let (_, record) = partition();
        let bytes = record.encode();
        let mut long = vec![0x89, 0x18, 0x01];
        long.extend_from_slice(&bytes[2..]);
        let mut indefinite = vec![0x9f];
        indefinite.extend_from_slice(&bytes[1..]);
        indefinite.push(0xff);
        let trailing = [bytes.as_slice(), &[0]].concat();
        for bad in [long, indefinite, trailing, bytes[..bytes.len() - 1].to_vec(), Vec::new()] {
            assert_eq!(PartitionRecord::decode(&bad), Err(BadRecord));
        }
    }

    #[test]
    fn an_epoch_record_and_a_tombstone_come_back() {
        let issuer = SigningKey::generate().unwrap();
        let core = Core {
            commit: [9; 32],
            partition: PartitionName::default_name(),
            kind: Kind::Deterministic,
            created: 1 << 33,
            not_after: 0,
        };
        let wrap = Wrap { suite: 1, recipient: [1; 16], kem_ct: vec![2; 1088], wrapped: vec![3; 48] };
        let record = EpochRecord::sign(core, &issuer, vec![wrap]).unwrap();
        let again = EpochRecord::decode(&record.encode()).unwrap();
        assert_eq!(again, record);
        again.verify(issuer.verifying_key()).unwrap();
        assert_eq!(again.core.id(), EpochId([9; 10]));

        let stone = Tombstone::sign(again.core.partition, [9; 32], 5, &issuer).unwrap();
        let mut again = Tombstone::decode(&stone.encode()).unwrap();
        again.verify(issuer.verifying_key()).unwrap();
        again.commit[0] ^= 1;
        assert!(again.verify(issuer.verifying_key()).is_err());
    }

    #[test]
    fn a_deterministic_epoch_has_no_end() {
        let issuer = SigningKey::generate().unwrap();
        let partition = PartitionName::default_name();
        let core = Core { commit: [9; 32], partition, kind: Kind::Deterministic, created: 1, not_after: 2 };
        let record = EpochRecord::sign(core, &issuer, Vec::new()).unwrap();
        assert_eq!(EpochRecord::decode(&record.encode()), Err(BadRecord));
    }

    proptest::proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(record) = EpochRecord::decode(&bytes) {
                proptest::prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
