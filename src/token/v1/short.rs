//! Short strings that are neither signed, bound nor padded, which most values are: sealed and opened in a room on the stack, without
//! taking a token apart first. What does not go this way goes the other, which says why where it fails.

use super::cipher::{PrefixCache, Recent};
use super::form::{HEAD_TEXT, body_len, head_len};
use super::{FieldKey, InHand, padding};
use crate::crypto::base64url::{self, Room, SHORT};
use crate::crypto::random::Batch;
use crate::json::text;
use crate::secret::wipe;

/// The beginning of a token's text: what its header says, all of it.
pub type HeadText = [u8; HEAD_TEXT];

impl InHand<'_> {
    /// Appends the token of a string between quotes, as [`InHand::seal`] makes it; `None`, and nothing appended, if that has to do it.
    pub fn seal_short(&mut self, text: &[u8], random: &mut Batch, out: &mut Vec<u8>) -> Option<()> {
        let Self { key, recent } = self;
        let length = body_len(key.suite, text.len(), false);
        if length > SHORT || text.last() == Some(&padding::FILL) {
            return None;
        }
        let mut room: Room = [0; _];
        let sealed = key.seal_in(&mut room, (text, length), random, recent);
        if sealed.is_none() {
            // It may hold the plaintext.
            wipe(&mut room);
            return None;
        }
        let start = out.len();
        out.reserve(HEAD_TEXT + 2 + base64url::encoded_len(room.len()));
        out.extend_from_slice(key.of_string.quoted());
        if base64url::encode_room(&mut room, length, out).is_none() {
            out.truncate(start);
            return None;
        }
        out.push(b'"');
        Some(())
    }

    /// Appends the string that a token holds, between quotes, if it is of this key and as [`InHand::open_in_place`] and a look at
    /// the plaintext would have it; `None`, and nothing appended, if those have to say.
    pub fn open_short(&mut self, token: &[u8], prefixes: &PrefixCache, out: &mut Vec<u8>) -> Option<()> {
        let Self { key, recent } = self;
        let (head, body) = token.split_first_chunk::<HEAD_TEXT>()?;
        if head != key.of_string.text() {
            return None;
        }
        let mut room: Room = [0; _];
        let length = base64url::decode_room(body, &mut room)?;
        if length < body_len(key.suite, 0, false) {
            return None;
        }
        let opened = key.open_in(&mut room, length, recent, prefixes, out);
        wipe(&mut room);
        opened
    }
}

impl FieldKey {
    fn seal_in(
        &self,
        room: &mut Room,
        (text, length): (&[u8], usize),
        random: &mut Batch,
        recent: &mut Recent,
    ) -> Option<()> {
        if self.cipher.seal_short(random, recent, text, room).is_some() {
            return Some(());
        }
        room.get_mut(head_len(self.suite)..)?.get_mut(..text.len())?.copy_from_slice(text);
        self.cipher.seal(self.of_string.unbound(), random, room.get_mut(..length)?).ok()
    }

    fn open_in(
        &self,
        room: &mut Room,
        length: usize,
        recent: &mut Recent,
        prefixes: &PrefixCache,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let opened = match self.cipher.open_short(recent, room, length) {
            Some(opened) => opened,
            None => self.cipher.open(self.of_string.unbound(), room.get_mut(..length)?, recent, prefixes),
        };
        let plain = room.get(opened.ok()?)?;
        // Padded ones are rare, and no UTF-8 ends so.
        if !text::is_string_content(plain) {
            return None;
        }
        out.reserve(plain.len() + 2);
        out.push(b'"');
        out.extend_from_slice(plain);
        out.push(b'"');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{Plain, parse};
    use super::*;
    use crate::name::{Class, PartitionName};
    use crate::secret::Secret;
    use crate::token::{EpochId, Suite};

    /// The same key, with prefixes of its own each time, as of another process.
    fn key(suite: Suite) -> FieldKey {
        let dek = Secret::from_slice(&[1; 32]).unwrap();
        let (partition, class) = (PartitionName::default_name(), Class::new("ssn"));
        FieldKey::derive(&dek, EpochId([7; 10]), suite, &partition, &class)
    }

    #[rstest]
    fn tokens_are_those_of_the_general_way(#[values(Suite::Xaes, Suite::Gcm)] suite: Suite) {
        let prefixes = PrefixCache::new(100);
        let mut random = Batch::default();
        let of_room = SHORT - body_len(suite, 0, false);
        // Tokens of two processes in turns, so that keys in use change.
        let ([here, other], opener) = ([key(suite), key(suite)], key(suite));
        let [mut one, mut two, mut three] = std::array::from_fn(|_| Recent::default());
        let mut opener = InHand::new(&opener, &mut one);
        let mut sealers = [(InHand::new(&here, &mut two), &here), (InHand::new(&other, &mut three), &other)];
        for length in (0..=of_room + 1).chain([11; 5]) {
            let text: Vec<u8> = (0..length).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
            let quoted = [b"\"", text.as_slice(), b"\""].concat();
            for (sealer, other) in &mut sealers {
                let mut sealed = b"kept".to_vec();
                let short = sealer.seal_short(&text, &mut random, &mut sealed);
                if length > of_room {
                    assert_eq!((short, sealed.as_slice()), (None, &b"kept"[..]));
                    continue;
                }
                let token = &sealed[5..sealed.len() - 1];
                assert_eq!((&sealed[..5], sealed.last()), (&b"kept\""[..], Some(&b'"')));
                let opened = key(suite).open(&parse(token).unwrap(), None, &[], &prefixes).unwrap();
                assert!(opened.is_string && opened.text.expose() == text, "{length}");

                let mut general = Vec::new();
                let plain = Plain { text: &text, is_string: true, record_id: None, pad: None, signer: None };
                other.seal(&plain, &mut general).unwrap();
                for token in [token, &general] {
                    let mut out = Vec::new();
                    opener.open_short(token, &prefixes, &mut out).unwrap();
                    assert_eq!(out, quoted, "{length}");
                }
                for at in [30, token.len() / 2, token.len() - 2] {
                    let mut changed = token.to_vec();
                    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                    let mut out = b"kept".to_vec();
                    assert_eq!(opener.open_short(&changed, &prefixes, &mut out), None, "{length}, {at}");
                    assert_eq!(out, b"kept");
                }
            }
        }
    }
}
