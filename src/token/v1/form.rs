//! The form of a token: its text, its header, its lengths. Nothing here needs a key.

use serde::Serialize;

use super::OpenError::{self, Malformed};
use super::managed::{self, ManagedSuite, ManagedToken};
use super::padding::{MIN_NON_STRING, padded_len};
use crate::crypto::aead::TAG;
use crate::crypto::base64url;
use crate::crypto::sign::SIGNATURE;
use crate::secret::SecretBytes;
use crate::token::{EpochId, PREFIX, Suite};

/// Bytes before the value of a signed plaintext: the signer's id, then the signature.
pub(super) const SIGNED: usize = 16 + SIGNATURE;

pub(super) const HEADER: usize = 12;
const HEADER_TEXT: usize = 16;

/// Characters before the body: prefix, header, dot.
pub(super) const HEAD_TEXT: usize = PREFIX.len() + HEADER_TEXT + 1;

/// A larger room for a body is not kept for the next one.
const MAX_SPACE: usize = 4096;

const NOT_CANONICAL: OpenError = Malformed("the body is not canonical base64url");

const NOT_STRING: u8 = 1;
const IS_SIGNED: u8 = 1 << 3;
const IS_BOUND: u8 = 1 << 5;

/// A token taken apart, nothing verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The AEAD.
    pub suite: Suite,
    /// Bit 0 clear: the value was a string.
    pub is_string: bool,
    /// Bit 3.
    pub signed: bool,
    /// Bit 5.
    pub bound: bool,
    /// Names the epoch.
    pub epoch: EpochId,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// A token of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyToken {
    /// Sealed under an epoch.
    Local(Token),
    /// Sealed by a managed API.
    Managed(ManagedToken),
}

/// Takes tokens apart of which most begin alike, as those of one body do: what the last one's header said holds for the next.
#[derive(Debug, Default)]
pub struct Parser {
    last: Option<([u8; HEAD_TEXT], Header)>,
    /// For the next body.
    space: Vec<u8>,
}

impl Parser {
    /// As [`parse`].
    pub fn parse(&mut self, text: &[u8]) -> Result<Token, OpenError> {
        if let Some((head, body)) = text.split_first_chunk()
            && let Some((last, header)) = &self.last
            && last == head
            && let AnySuite::Local(suite) = header.suite
        {
            let mut space = std::mem::take(&mut self.space);
            base64url::decode_public_into(body, &mut space).ok_or(NOT_CANONICAL)?;
            return token(suite, header, space);
        }
        let token = parse(text)?;
        let Token { suite, is_string, signed, bound, epoch, .. } = token;
        let header = Header { suite: AnySuite::Local(suite), is_string, signed, bound, id: epoch.0 };
        self.last = text.first_chunk().map(|head| (*head, header));
        Ok(token)
    }

    /// Takes the room of a token's body back, which is wiped.
    pub fn take_back(&mut self, mut opened: SecretBytes) {
        if opened.expose_mut().capacity() <= MAX_SPACE {
            self.space = opened.into_wiped();
        }
    }
}

/// Takes the text (unescaped, without quotes) of a token apart that was sealed under an epoch.
pub fn parse(text: &[u8]) -> Result<Token, OpenError> {
    match parse_any(text)? {
        AnyToken::Local(token) => Ok(token),
        AnyToken::Managed(_) => Err(Malformed("a managed API sealed it, so only a rule with its profile opens it")),
    }
}

/// Takes the text (unescaped, without quotes) of any token apart.
pub fn parse_any(text: &[u8]) -> Result<AnyToken, OpenError> {
    let rest = text.strip_prefix(PREFIX).ok_or(Malformed("it does not begin with `sc1.`"))?;
    let (header, rest) = rest.split_at_checked(HEADER_TEXT).ok_or(Malformed("the header is not 12 bytes"))?;
    let header = base64url::decode_public_array::<HEADER>(header)
        .ok_or(Malformed("the header is not 12 bytes of canonical base64url"))?;
    let header = Header::new(header)?;
    let (dot, body) = rest.split_first().ok_or(Malformed("there is no body"))?;
    if *dot != b'.' {
        return Err(Malformed("the header is not 12 bytes"));
    }
    match header.suite {
        AnySuite::Local(suite) => {
            let body = base64url::decode_public(body).ok_or(NOT_CANONICAL)?;
            token(suite, &header, body).map(AnyToken::Local)
        }
        AnySuite::Managed(suite) => {
            let Header { is_string, signed, bound, id: profile, .. } = header;
            let ciphertext = managed::body(suite, body)?;
            Ok(AnyToken::Managed(ManagedToken { suite, is_string, signed, bound, profile, ciphertext }))
        }
    }
}

/// The token with this header and body.
fn token(suite: Suite, header: &Header, body: Vec<u8>) -> Result<Token, OpenError> {
    let Header { is_string, signed, bound, id, .. } = *header;
    if body.len() < body_len(suite, if is_string { 0 } else { MIN_NON_STRING }, signed) {
        return Err(Malformed("the body is too short"));
    }
    Ok(Token { suite, is_string, signed, bound, epoch: EpochId(id), body })
}

/// What the twelve bytes say.
#[derive(Debug)]
struct Header {
    suite: AnySuite,
    is_string: bool,
    signed: bool,
    bound: bool,
    id: [u8; 10],
}

#[derive(Debug, Clone, Copy)]
enum AnySuite {
    Local(Suite),
    Managed(ManagedSuite),
}

impl Header {
    fn new([suite, flags, id @ ..]: [u8; HEADER]) -> Result<Self, OpenError> {
        let managed = || ManagedSuite::from_byte(suite).map(AnySuite::Managed);
        let suite = Suite::from_byte(suite).map(AnySuite::Local).or_else(managed).ok_or(Malformed("unknown suite"))?;
        if flags & !(NOT_STRING | IS_SIGNED | IS_BOUND) != 0 {
            return Err(Malformed("unknown flags"));
        }
        let (is_string, signed, bound) = (flags & NOT_STRING == 0, flags & IS_SIGNED != 0, flags & IS_BOUND != 0);
        if matches!(suite, AnySuite::Local(Suite::Siv)) && (signed || bound) {
            return Err(Malformed("a deterministic token can be neither signed nor bound"));
        }
        Ok(Self { suite, is_string, signed, bound, id })
    }
}

pub(super) fn header(suite: Suite, is_string: bool, signed: bool, bound: bool, epoch: EpochId) -> [u8; HEADER] {
    header_of(suite as u8, flags(is_string, signed, bound), epoch.0)
}

/// A header is the same in all suites; what its ten bytes name differs.
pub(super) fn header_of(suite: u8, flags: u8, id: [u8; 10]) -> [u8; HEADER] {
    let [a, b, c, d, e, f, g, h, i, j] = id;
    [suite, flags, a, b, c, d, e, f, g, h, i, j]
}

pub(super) fn flags(is_string: bool, signed: bool, bound: bool) -> u8 {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    flag(!is_string, NOT_STRING) | flag(signed, IS_SIGNED) | flag(bound, IS_BOUND)
}

/// Bytes that stand before the ciphertext: the nonce, or the synthetic IV of suite 3.
pub(super) fn head_len(suite: Suite) -> usize {
    match suite {
        Suite::Xaes => 24,
        Suite::Gcm => 12,
        Suite::Siv => TAG,
    }
}

/// Bytes of the body for a value that is `padded` bytes long.
pub(super) fn body_len(suite: Suite, padded: usize, signed: bool) -> usize {
    let tag = if suite == Suite::Siv { 0 } else { TAG };
    let signature = if signed { SIGNED } else { 0 };
    padded.saturating_add(head_len(suite) + tag + signature)
}

/// Characters of the token for a value of `text_len` bytes, for forecasts and `max_length`.
pub fn token_len(suite: Suite, text_len: usize, is_string: bool, pad: Option<usize>, signed: bool) -> usize {
    let body = body_len(suite, padded_len(text_len, is_string, pad), signed);
    base64url::encoded_len(body).saturating_add(HEAD_TEXT)
}

/// What a token tells to whoever holds no key: nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The suite's number.
    pub suite: u8,
    /// The suite's name.
    pub algorithm: &'static str,
    /// Whether the value was a string.
    pub string: bool,
    /// Whether it carries a signature.
    pub signed: bool,
    /// Whether it opens in one record only.
    pub bound: bool,
    /// Names the epoch, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Names the profile of the managed API that sealed it, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Bytes of the value with its padding: the value is no longer than this.
    pub value_bytes_at_most: usize,
    /// Characters of the token.
    pub length: usize,
}

/// Tells what a token's text tells.
pub fn inspect(text: &[u8]) -> Result<Inspection, OpenError> {
    Ok(match parse_any(text)? {
        AnyToken::Local(token) => Inspection {
            suite: token.suite as u8,
            algorithm: token.suite.name(),
            string: token.is_string,
            signed: token.signed,
            bound: token.bound,
            epoch: Some(token.epoch.to_string()),
            profile: None,
            value_bytes_at_most: token.body.len().saturating_sub(body_len(token.suite, 0, token.signed)),
            length: text.len(),
        },
        AnyToken::Managed(token) => Inspection {
            suite: token.suite as u8,
            algorithm: "managed-api",
            string: token.is_string,
            signed: token.signed,
            bound: token.bound,
            epoch: None,
            // It is written as the name of an epoch is.
            profile: Some(EpochId(token.profile).to_string()),
            value_bytes_at_most: token.ciphertext.len(),
            length: text.len(),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(header: &[u8], body: &[u8]) -> Vec<u8> {
        format!("sc1.{}.{}", base64url::encode(header), base64url::encode(body)).into_bytes()
    }

    impl Token {
        fn header(&self) -> [u8; HEADER] {
            header(self.suite, self.is_string, self.signed, self.bound, self.epoch)
        }
    }

    fn with(suite: u8, flags: u8, body: usize) -> Result<Token, OpenError> {
        parse(&text(&[&[suite, flags][..], &[7; 10]].concat(), &vec![0; body]))
    }

    #[test]
    fn every_form_parses_from_its_least_length_on() {
        for (suite, flags, least) in [
            (1, 0, 40),
            (1, 1, 48),
            (1, 8, 40 + 3325),
            (1, 0x29, 48 + 3325),
            (1, 0x20, 40),
            (2, 0, 28),
            (2, 1, 36),
            (3, 0, 16),
            (3, 1, 24),
        ] {
            let token = with(suite, flags, least).unwrap();
            assert_eq!(token.header(), *[&[suite, flags][..], &[7; 10]].concat());
            assert_eq!(token.body.len(), least);
            assert_eq!(with(suite, flags, least - 1), Err(Malformed("the body is too short")));
        }
    }

    #[test]
    fn what_the_format_does_not_know_is_refused() {
        for flags in (0..=255u8).filter(|flags| flags & !0x29 != 0) {
            assert_eq!(with(1, flags, 9000), Err(Malformed("unknown flags")), "{flags}");
        }
        for flags in [0x08, 0x20, 0x28, 0x29] {
            assert!(with(3, flags, 9000).is_err(), "{flags}");
        }
        for suite in [0, 4, 5, 0x3f, 0x42, 0xff] {
            assert_eq!(with(suite, 0, 9000), Err(Malformed("unknown suite")), "{suite}");
        }
        for suite in [0x40, 0x41] {
            assert!(
                with(suite, 0, 9000).is_err_and(|error| error.to_string().contains("only a rule with its profile"))
            );
            assert!(with(suite, 2, 9000).is_err_and(|error| error == Malformed("unknown flags")));
        }
    }

    #[test]
    fn the_text_is_taken_in_one_form_only() {
        let good = String::from_utf8(text(&[1; 12], &[0; 41])).unwrap().replace("sc1.AQEB", "sc1.AQAB");
        parse(good.as_bytes()).unwrap();
        let (head, body) = good.rsplit_once('.').unwrap();
        for bad in [
            "".into(),
            "sc1.".into(),
            "sc1..".into(),
            head.to_owned(),
            format!("{head}."),
            format!("{good}="),
            format!("{good}AA"), // 57 characters
            format!("{good} "),
            format!(" {good}"),
            format!("{good}.{body}"),
            format!("{head}.{}B", "A".repeat(54)), // spare bits
            format!("{head}.+{}", "A".repeat(54)),
            format!("{head}./{}", "A".repeat(54)),
            format!("{head}.é{}", "A".repeat(53)),
            good.replace("sc1.", "sc2."),
            good.replace("sc1.", "SC1."),
            good.replace("sc1.", "sc1.AAAA"),
            good.replacen("sc1.AQAB", "sc1.", 1),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_card_number_becomes_what_the_format_promises() {
        let lengths = Suite::ALL.map(|suite| token_len(suite, 16, true, None, false));
        assert_eq!(lengths, [96, 80, 64]);
    }

    #[test]
    fn inspection_tells_what_the_header_says() {
        let text = text(&[2, 0x29, 0xab, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 12 + 3325 + 10 + 16]);
        let seen = inspect(&text).unwrap();
        assert_eq!(
            serde_json::to_value(&seen).unwrap(),
            serde_json::json!({
                "suite": 2, "algorithm": "aes-256-gcm", "string": false, "signed": true, "bound": true,
                "epoch": "ab000000000000000001", "value_bytes_at_most": 10, "length": text.len(),
            })
        );
        assert!(inspect(b"sc1.").is_err());
        let managed =
            inspect(format!("sc1.{}.YWJj", base64url::encode(&[0x41, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2])).as_bytes());
        assert_eq!(
            serde_json::to_value(managed.unwrap()).unwrap(),
            serde_json::json!({
                "suite": 65, "algorithm": "managed-api", "string": true, "signed": true, "bound": false,
                "profile": "01000000000000000002", "value_bytes_at_most": 3, "length": 25,
            })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, header: [u8; 12], body: Vec<u8>, cut in 0usize..200) {
            prop_assert!(parse(&bytes).is_err());
            let mut text = text(&header, &body);
            let parsed = parse(&text);
            if let Ok(token) = parsed {
                prop_assert_eq!(token.header(), header);
                prop_assert_eq!(token.body, body);
            }
            text.truncate(cut);
            drop(parse(&text));
            drop(parse(&[PREFIX, &bytes].concat()));
        }

        /// Texts that begin alike or nearly, one after the other, some opened and given back.
        #[test]
        fn a_parser_says_of_each_text_what_parse_says(
            all in prop::collection::vec(
                (prop::sample::select(&[1u8, 2, 3, 0x40, 9]), prop::sample::select(&[0u8, 1, 8, 0x20, 2]), 6u8..8, 0usize..90, 0usize..220, any::<u8>()),
                1..9,
            ),
        ) {
            let mut parser = Parser::default();
            for (suite, flags, id, length, at, byte) in all {
                let mut text = text(&[&[suite, flags][..], &[id; 10]].concat(), &vec![byte; length]);
                // Most stay as they are.
                match at.checked_sub(110) {
                    Some(at) if at % 2 == 0 => text.truncate(at),
                    Some(at) if at < text.len() => text[at] = byte,
                    _ => {}
                }
                let parsed = parser.parse(&text);
                prop_assert_eq!(&parsed, &parse(&text));
                if let Ok(token) = parsed {
                    parser.take_back(SecretBytes::new(token.body));
                }
            }
        }

        /// Two texts never parse to the same token.
        #[test]
        fn a_parsed_token_has_one_text(suite in 1u8..4, flags in prop::sample::select(&[0u8, 1]), body in prop::collection::vec(any::<u8>(), 48..60), at in 0usize..90, byte: u8) {
            let good = text(&[&[suite, flags][..], &[9; 10]].concat(), &body);
            let token = parse(&good).unwrap();
            let mut other = good.clone();
            let at = at % other.len();
            other[at] = byte;
            prop_assert_eq!(other == good, parse(&other).is_ok_and(|t| t == token));
        }
    }
}
