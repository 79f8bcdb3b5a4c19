//! Tokens that carry a managed API's own ciphertext (suites 0x40 and 0x41), and the text that such an API is handed. Managed APIs
//! know no associated data, so what a value belongs to stands before it, and is compared after opening.

use super::OpenError::{self, Malformed};
use super::form::{self, HEADER};
use crate::crypto::base64url;
use crate::crypto::kdf::{pae, sha256};
use crate::name::Class;
use crate::secret::SecretBytes;
use crate::token::PREFIX;

/// What the text begins with that an API is handed for one value.
pub const HANDED: &[u8] = b"sc1:";

/// What the text begins with that an API is handed for the data key of an epoch.
pub const HANDED_KEY: &[u8] = b"sc1k:";

/// Of the head of what is handed over.
const LABEL: &[u8] = b"sidecloak/1 delegate";

/// Whether a text has the form of what only this program hands to an API: data that had it could be taken for a sealed value or
/// a data key.
pub fn looks_handed(text: &[u8]) -> bool {
    text.starts_with(HANDED) || text.starts_with(HANDED_KEY)
}

/// How the body of a token writes a ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ManagedSuite {
    /// As it is: it has only characters of `A-Za-z0-9_-`.
    AsIs = 0x40,
    /// In base64url.
    Encoded = 0x41,
}

impl ManagedSuite {
    /// The suite with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::AsIs, Self::Encoded].into_iter().find(|suite| *suite as u8 == byte)
    }

    /// The one for an API, of whose ciphertexts it is known whether they have only characters of `A-Za-z0-9_-`.
    pub fn of(plain_text: bool) -> Self {
        if plain_text { Self::AsIs } else { Self::Encoded }
    }
}

/// Such a token taken apart, nothing verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedToken {
    /// How its body was written.
    pub suite: ManagedSuite,
    /// Bit 0 clear: the value was a string.
    pub is_string: bool,
    /// Bit 3: the API signed it.
    pub signed: bool,
    /// Bit 5.
    pub bound: bool,
    /// The profile's, see [`profile_id`].
    pub profile: [u8; 10],
    /// The API's own.
    pub ciphertext: Vec<u8>,
}

/// The name of a profile in the header of a token.
pub fn profile_id(name: &str) -> [u8; 10] {
    let digest = sha256(name.as_bytes());
    let mut id = [0; 10];
    id.copy_from_slice(digest.split_at(10).0);
    id
}

/// What a value belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// The class of the value.
    pub class: &'a Class,
    /// The bound record id, as `bind` canonicalised it; never empty.
    pub record_id: Option<&'a [u8]>,
    /// Whether it is a string.
    pub is_string: bool,
    /// Whether the API signs it.
    pub signed: bool,
}

impl Place<'_> {
    /// What the API is handed for a value: JSON text, without the quotes of a string.
    pub fn wrap(&self, text: &[u8]) -> SecretBytes {
        let head = self.head();
        // Never grown: a reallocation would leave the plaintext behind.
        let mut handed = Vec::with_capacity(head.len() + text.len());
        handed.extend_from_slice(&head);
        handed.extend_from_slice(text);
        SecretBytes::new(handed)
    }

    /// How long that is.
    pub fn wrapped_len(&self, text_len: usize) -> usize {
        let record_id = self.record_id.unwrap_or_default();
        let parts = [LABEL.len(), 1, self.profile.len(), self.class.as_str().len(), record_id.len()];
        let bytes = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(4).saturating_add(*part));
        let head = bytes.saturating_mul(4).div_ceil(3).saturating_add(HANDED.len() + 1);
        head.saturating_add(text_len)
    }

    /// The value again, if exactly this place stands before it.
    pub fn unwrap(&self, handed: &SecretBytes) -> Result<SecretBytes, OpenError> {
        let text = handed.expose().strip_prefix(self.head().as_slice()).ok_or(OpenError::NotAuthentic)?;
        Ok(SecretBytes::new(text.to_vec()))
    }

    /// Appends the token of a ciphertext; an error says what is wrong with it, and nothing is appended.
    pub fn token(&self, suite: ManagedSuite, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if ciphertext.is_empty() {
            return Err("the API's ciphertext is empty");
        }
        if suite == ManagedSuite::AsIs && !is_body(ciphertext) {
            return Err("the API's ciphertext has other characters than A-Z a-z 0-9 _ -");
        }
        let header: [u8; HEADER] = form::header_of(suite as u8, self.flags(), profile_id(self.profile));
        out.extend_from_slice(PREFIX);
        base64url::encode_public_into(&header, out);
        out.push(b'.');
        match suite {
            ManagedSuite::AsIs => out.extend_from_slice(ciphertext),
            ManagedSuite::Encoded => base64url::encode_public_into(ciphertext, out),
        }
        Ok(())
    }

    fn head(&self) -> Vec<u8> {
        let parts = pae(&[
            LABEL,
            &[self.flags()],
            self.profile.as_bytes(),
            self.class.as_str().as_bytes(),
            self.record_id.unwrap_or_default(),
        ]);
        let mut head = HANDED.to_vec();
        base64url::encode_public_into(&parts, &mut head);
        head.push(b':');
        head
    }

    fn flags(&self) -> u8 {
        form::flags(self.is_string, self.signed, self.record_id.is_some())
    }
}

/// The body of such a token, as it stands there.
pub(super) fn body(suite: ManagedSuite, text: &[u8]) -> Result<Vec<u8>, OpenError> {
    let ciphertext = match suite {
        ManagedSuite::AsIs if is_body(text) => text.to_vec(),
        ManagedSuite::AsIs => return Err(Malformed("the body has other characters than A-Z a-z 0-9 _ -")),
        ManagedSuite::Encoded => {
            base64url::decode_public(text).ok_or(Malformed("the body is not canonical base64url"))?
        }
    };
    if ciphertext.is_empty() { Err(Malformed("the body is too short")) } else { Ok(ciphertext) }
}

fn is_body(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::v1::{AnyToken, parse, parse_any};

    fn parsed(text: &[u8]) -> ManagedToken {
        match parse_any(text).unwrap() {
            AnyToken::Managed(token) => token,
            AnyToken::Local(token) => panic!("{token:?}"),
        }
    }

    #[test]
    fn the_forms_are_as_the_format_page_says() {
        let class = Class::new("ssn");
        let place = Place { profile: "partner", class: &class, record_id: None, is_string: true, signed: false };
        let id = profile_id("partner");
        let mut token = Vec::new();
        place.token(ManagedSuite::AsIs, b"abc-_9", &mut token).unwrap();
        let header = base64url::encode(&[&[0x40, 0][..], &id].concat());
        assert_eq!(String::from_utf8(token).unwrap(), format!("sc1.{header}.abc-_9"));
        let mut token = Vec::new();
        let bound = Place { record_id: Some(b"7"), is_string: false, signed: true, ..place };
        bound.token(ManagedSuite::Encoded, b"ncpkms:v1:+/=", &mut token).unwrap();
        let header = base64url::encode(&[&[0x41, 0x29][..], &id].concat());
        assert_eq!(String::from_utf8(token).unwrap(), format!("sc1.{header}.{}", base64url::encode(b"ncpkms:v1:+/=")));

        let expected = b"\x14\0\0\0sidecloak/1 delegate\x01\0\0\0\x29\x07\0\0\0partner\x03\0\0\0ssn\x01\0\0\x007";
        let handed = format!("sc1:{}:12", base64url::encode(expected));
        assert_eq!(bound.wrap(b"12").expose(), handed.as_bytes());
        assert_eq!(bound.wrapped_len(2), handed.len());
    }

    #[test]
    fn what_is_no_body_is_refused() {
        let class = Class::new("c");
        let place = Place { profile: "p", class: &class, record_id: None, is_string: true, signed: false };
        for (suite, ciphertext) in [
            (ManagedSuite::AsIs, &b""[..]),
            (ManagedSuite::AsIs, b"a.b"),
            (ManagedSuite::AsIs, b"a=="),
            (ManagedSuite::AsIs, "é".as_bytes()),
            (ManagedSuite::Encoded, b""),
        ] {
            let mut out = b"kept".to_vec();
            assert!(place.token(suite, ciphertext, &mut out).is_err());
            assert_eq!(out, b"kept");
        }
        let header = base64url::encode(&[&[0x41, 0][..], &[7; 10]].concat());
        for body in ["", "A", "AB", "AA==", "A A"] {
            assert!(parse_any(format!("sc1.{header}.{body}").as_bytes()).is_err(), "{body}");
        }
        let header = base64url::encode(&[&[0x40, 0][..], &[7; 10]].concat());
        for body in ["", "a.b", "a=", "a b"] {
            assert!(parse_any(format!("sc1.{header}.{body}").as_bytes()).is_err(), "{body}");
        }
        // What is no canonical base64url is a body of 0x40 all the same.
        assert_eq!(parsed(format!("sc1.{header}.AB").as_bytes()).ciphertext, b"AB");
    }

    /// Made by another program from the format page.
    #[test]
    fn the_vectors_hold() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/managed.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 5);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let class = Class::new(text("class"));
            let place = Place {
                profile: text("profile"),
                class: &class,
                record_id: vector["record_id"].as_str().map(str::as_bytes),
                is_string: vector["is_string"].as_bool().unwrap(),
                signed: vector["signed"].as_bool().unwrap(),
            };
            let handed = place.wrap(text("text").as_bytes());
            assert_eq!(std::str::from_utf8(handed.expose()).unwrap(), text("handed"), "{}", text("name"));
            let suite = ManagedSuite::from_byte(vector["suite"].as_u64().unwrap().try_into().unwrap()).unwrap();
            let ciphertext = crate::crypto::hex::decode(text("ciphertext").as_bytes()).unwrap();
            let mut token = Vec::new();
            place.token(suite, &ciphertext, &mut token).unwrap();
            assert_eq!(String::from_utf8(token).unwrap(), text("token"));
            assert_eq!(parsed(text("token").as_bytes()).ciphertext, ciphertext);
        }
    }

    proptest! {
        #[test]
        fn a_token_is_taken_apart_into_what_it_was_made_of(
            name in "[a-z0-9-]{1,30}", class in ".{1,20}", record in proptest::option::of(".{1,20}"),
            is_string: bool, signed: bool, text: Vec<u8>, plain in "[A-Za-z0-9_-]{1,60}", bytes in proptest::collection::vec(any::<u8>(), 1..60),
        ) {
            let class = Class::new(&class);
            let record_id = record.as_ref().map(String::as_bytes);
            let place = Place { profile: &name, class: &class, record_id, is_string, signed };
            for (suite, ciphertext) in [(ManagedSuite::AsIs, plain.as_bytes()), (ManagedSuite::Encoded, &bytes)] {
                let mut out = Vec::new();
                place.token(suite, ciphertext, &mut out).unwrap();
                let token = parsed(&out);
                prop_assert_eq!(token, ManagedToken {
                    suite, is_string, signed, bound: record.is_some(), profile: profile_id(&name), ciphertext: ciphertext.to_vec(),
                });
                prop_assert!(parse(&out).is_err(), "no token of an epoch");
                out.push(b'.');
                prop_assert!(parse_any(&out).is_err());
            }
            let handed = place.wrap(&text);
            prop_assert!(looks_handed(handed.expose()));
            prop_assert_eq!(handed.expose().len(), place.wrapped_len(text.len()));
            let back = place.unwrap(&handed).unwrap();
            prop_assert_eq!(back.expose(), text.as_slice());
        }

        #[test]
        fn a_text_opens_at_its_own_place_only(
            record in proptest::option::of("[a-c:]{1,3}"), other_record in proptest::option::of("[a-c:]{1,3}"),
            class in "[a-c]{1,2}", other_class in "[a-c]{1,2}", name in "[a-c]{1,2}", other_name in "[a-c]{1,2}",
            kinds: (bool, bool), other_kinds: (bool, bool), text in ".{0,9}",
        ) {
            let (class, other_class) = (Class::new(&class), Class::new(&other_class));
            let one = Place {
                profile: &name, class: &class, record_id: record.as_ref().map(String::as_bytes), is_string: kinds.0, signed: kinds.1,
            };
            let other = Place {
                profile: &other_name, class: &other_class, record_id: other_record.as_ref().map(String::as_bytes),
                is_string: other_kinds.0, signed: other_kinds.1,
            };
            let same = name == other_name && class == other_class && record == other_record && kinds == other_kinds;
            prop_assert_eq!(other.unwrap(&one.wrap(text.as_bytes())).is_ok(), same);
        }

        #[test]
        fn arbitrary_bytes_never_panic(header: [u8; 10], suite in 0x3eu8..0x44, flags: u8, body: Vec<u8>) {
            let text = [b"sc1.", base64url::encode(&[&[suite, flags][..], &header].concat()).as_bytes(), b".", &body].concat();
            let managed = matches!(suite, 0x40 | 0x41);
            if let Ok(any) = parse_any(&text) {
                prop_assert!(managed && matches!(any, AnyToken::Managed(_)));
            }
            prop_assert!(parse(&text).is_err());
        }
    }
}
