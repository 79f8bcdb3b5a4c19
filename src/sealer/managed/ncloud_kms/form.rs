//! The form of a ciphertext (documented): `ncpkms:v{version}:` and standard base64 of what was sealed.

use crate::crypto::base64;

/// What each begins with.
const PREFIX: &[u8] = b"ncpkms:v";
/// Of AES-256-GCM: a nonce and a tag.
const AROUND: usize = 12 + 16;
/// What RSA2048 seals has the length of its modulus.
const RSA: usize = 256;
const VERSION_DIGITS: usize = 10;

/// How many bytes were sealed with their nonce and tag; `None` if this is no ciphertext.
pub(super) fn sealed_len(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(PREFIX)?;
    let digits = rest.iter().take(VERSION_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let (version, rest) = rest.split_at_checked(digits)?;
    if version.is_empty() || version.len() > VERSION_DIGITS {
        return None;
    }
    let sealed = base64::decode(rest.strip_prefix(b":")?, rest.len())?;
    (sealed.len() >= AROUND).then_some(sealed.len())
}

/// Whether so many sealed bytes can hold a text of that length.
pub(super) fn holds(sealed: usize, text: usize) -> bool {
    sealed == text + AROUND || sealed == RSA
}

/// About how long the ciphertext of a text of that length is, and never longer.
pub(super) fn ciphertext_len(text: usize) -> usize {
    PREFIX.len() + VERSION_DIGITS + 1 + base64::encoded_len((text + AROUND).max(RSA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ciphertexts_have_a_length() {
        let sealed = base64::encode(&[0xfb; 30]);
        for version in ["1", "0", "12", "4294967295"] {
            assert_eq!(sealed_len(format!("ncpkms:v{version}:{sealed}").as_bytes()), Some(30), "{version}");
        }
        let url = sealed.replace('+', "-");
        let (short, unpadded) = (base64::encode(&[0; 27]), base64::encode(&[0; 29]).replace('=', ""));
        for bad in [
            String::new(),
            sealed.clone(),
            format!("ncpkms:v1{sealed}"),
            format!("ncpkms:v:{sealed}"),
            format!("ncpkms:v12345678901:{sealed}"),
            format!("ncpkms:v-1:{sealed}"),
            format!("ncpkms:vx:{sealed}"),
            format!("ncpkms:1:{sealed}"),
            format!("NCPKMS:v1:{sealed}"),
            format!(" ncpkms:v1:{sealed}"),
            format!("ncpkms:v1:{sealed}\n"),
            format!("ncpkms:v1:{sealed}\""),
            format!("ncpkms:v1:{url}"),
            format!("ncpkms:v1:{short}"),
            format!("ncpkms:v1:{unpadded}"),
            "ncpkms:v1:".into(),
        ] {
            assert_eq!(sealed_len(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn lengths_fit_each_other() {
        assert!(holds(28, 0) && holds(38, 10) && holds(256, 10));
        assert!(!holds(10, 10) && !holds(39, 10) && !holds(27, 0));
        for text in [0, 1, 190, 32 * 1024] {
            let longest = format!("ncpkms:v4294967295:{}", base64::encode(&vec![0; text + AROUND]));
            assert!(longest.len() <= ciphertext_len(text));
        }
    }
}
