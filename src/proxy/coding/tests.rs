use http::HeaderValue;
use proptest::prelude::*;

use super::encode::Form;
use super::*;
use crate::proxy::budget::Budget;

const ALL: [Form; 5] = [Form::Gzip, Form::Zlib, Form::Raw, Form::Brotli, Form::Zstd];
const BOUNDS: Bounds = Bounds { decoded: 64 << 20, ratio: 200 };

fn coding(form: Form) -> Coding {
    match form {
        Form::Gzip => Coding::Gzip,
        Form::Zlib | Form::Raw => Coding::Deflate,
        Form::Brotli => Coding::Brotli,
        Form::Zstd => Coding::Zstd,
    }
}

fn budget() -> Budget {
    Budget::new(256 << 20)
}

fn encode(forms: &[Form], plain: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(forms, None, &budget()).unwrap();
    let mut out = Vec::new();
    for (n, piece) in plain.chunks(1_000).enumerate() {
        encoder.encode(piece, &mut out).unwrap();
        if n % 3 == 0 {
            encoder.flush(&mut out).unwrap();
        }
    }
    encoder.finish(&mut out).unwrap();
    out
}

fn decode_with(codings: &Codings, bounds: Bounds, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Form>), DecodeError> {
    let budget = budget();
    let mut decoder = Decoder::new(codings, bounds, &budget)?;
    let mut out = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let before = out.len();
            let more = decoder.decode(&mut rest, &mut out)?;
            assert!(out.len() - before <= decode::PIECE);
            if !more {
                break;
            }
        }
        assert!(rest.is_empty());
    }
    decoder.finish()?;
    let forms = decoder.forms();
    drop(decoder);
    assert_eq!(budget.used(), 0);
    Ok((out, forms))
}

fn decode(forms: &[Form], pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<Form>), DecodeError> {
    decode_with(&Codings(forms.iter().copied().map(coding).collect()), BOUNDS, pieces)
}

/// Compresses somewhat.
fn document(items: usize) -> Vec<u8> {
    let items: Vec<String> = (0..items).map(|n| format!(r#"{{"id":{n},"name":"Name {}"}}"#, n * 7919 % 1000)).collect();
    format!("[{}]", items.join(",")).into_bytes()
}

#[test]
fn every_split_of_every_coding_is_the_same() {
    let plain = document(20);
    for form in ALL {
        let coded = encode(&[form], &plain);
        for at in 0..=coded.len() {
            let (head, tail) = coded.split_at(at);
            assert_eq!(decode(&[form], &[head, tail]), Ok((plain.clone(), vec![form])), "{form:?} at {at}");
        }
        let bytes: Vec<&[u8]> = coded.chunks(1).collect();
        assert_eq!(decode(&[form], &bytes), Ok((plain.clone(), vec![form])), "{form:?} byte by byte");
    }
}

#[test]
fn long_bodies_and_stacks_come_back() {
    for size in [0, 1, 700, 20_000] {
        let plain = document(size);
        for form in ALL {
            let coded = encode(&[form], &plain);
            assert_eq!(decode(&[form], &[&coded]).unwrap().0, plain, "{form:?} {size}");
        }
    }
    let plain = document(3_000);
    for stack in [
        &[Form::Gzip, Form::Brotli][..],
        &[Form::Zstd, Form::Raw, Form::Gzip],
        &[Form::Brotli, Form::Brotli],
        &[Form::Zlib, Form::Zstd],
    ] {
        let coded = encode(stack, &plain);
        assert_eq!(decode(stack, &[&coded]), Ok((plain.clone(), stack.to_vec())), "{stack:?}");
        let bytes: Vec<&[u8]> = coded.chunks(1).collect();
        assert_eq!(decode(stack, &bytes), Ok((plain.clone(), stack.to_vec())), "{stack:?}");
    }
}

#[test]
fn highly_compressed_output_comes_in_bounded_pieces() {
    let plain = vec![b'7'; 1 << 20];
    for form in ALL {
        let coded = encode(&[form], &plain);
        assert!(decode(&[form], &[&coded]).unwrap().0 == plain, "{form:?}");
        let bytes: Vec<&[u8]> = coded.chunks(1).collect();
        assert!(decode(&[form], &bytes).unwrap().0 == plain, "{form:?}");
    }
}

#[test]
fn several_members_are_one_body() {
    let (a, b) = (document(5), document(9));
    for form in [Form::Gzip, Form::Zstd] {
        let both = [encode(&[form], &a), encode(&[form], &b)].concat();
        for at in 0..=both.len() {
            let (head, tail) = both.split_at(at);
            assert_eq!(decode(&[form], &[head, tail]).unwrap().0, [a.clone(), b.clone()].concat(), "{form:?} at {at}");
        }
    }
    for form in [Form::Zlib, Form::Raw, Form::Brotli] {
        let both = [encode(&[form], &a), encode(&[form], &b)].concat();
        assert_eq!(decode(&[form], &[&both]), Err(DecodeError::Corrupt), "{form:?}");
    }
}

#[test]
fn a_part_is_never_taken_for_the_whole() {
    let plain = document(30);
    for form in ALL {
        let coded = encode(&[form], &plain);
        for at in 0..coded.len() {
            assert_eq!(decode(&[form], &[&coded[..at]]), Err(DecodeError::Corrupt), "{form:?} to {at}");
        }
        for garbage in [&b"\0"[..], b"x", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            let more = [&coded, garbage].concat();
            assert_eq!(decode(&[form], &[&more]), Err(DecodeError::Corrupt), "{form:?} and {garbage:?}");
            assert_eq!(decode(&[form], &[&coded, garbage]), Err(DecodeError::Corrupt), "{form:?} and {garbage:?}");
        }
    }
}

#[test]
fn a_flipped_bit_of_checked_codings_is_noticed() {
    let plain = document(30);
    for form in [Form::Gzip, Form::Zlib, Form::Zstd] {
        let coded = encode(&[form], &plain);
        // Of a gzip header, some bytes say nothing of the content.
        for at in 10..coded.len() {
            let mut wrong = coded.clone();
            wrong[at] ^= 0x10;
            if let Ok((got, _)) = decode(&[form], &[&wrong]) {
                assert_eq!(got, plain, "{form:?} at {at}");
            }
        }
    }
}

#[test]
fn bombs_end_at_their_bounds() {
    let zeros = vec![b' '; 8 << 20];
    let encode = |forms: &[Form], plain: &[u8]| {
        let mut encoder = Encoder::new(forms, None, &budget()).unwrap();
        let mut out = Vec::new();
        encoder.encode(plain, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        out
    };
    for form in ALL {
        let coded = encode(&[form], &zeros);
        assert_eq!(decode(&[form], &[&coded]).map(|_| ()), Err(DecodeError::TooLarge), "{form:?}: ratio");
        let small = Bounds { decoded: 4 << 20, ratio: u64::MAX };
        let codings = Codings(vec![coding(form)]);
        let refused = decode_with(&codings, small, &[&coded]).map(|_| ());
        assert_eq!(refused, Err(DecodeError::TooLarge), "{form:?}: size");
        let free = Bounds { decoded: 8 << 20, ratio: u64::MAX };
        assert_eq!(decode_with(&codings, free, &[&coded]).unwrap().0.len(), zeros.len(), "{form:?}");
        // What grows in between counts as well.
        let twice = [form, form];
        let coded = encode(&twice, &zeros);
        assert_eq!(decode(&twice, &[&coded]).map(|_| ()), Err(DecodeError::TooLarge), "{form:?} twice");
    }
}

#[test]
fn windows_are_bounded_and_paid_for() {
    // A brotli stream that announces a "large window" of 2^30, which RFC 7932 has not.
    assert_eq!(decode(&[Form::Brotli], &[&[0x11, 0x1e, 0x03]]), Err(DecodeError::Corrupt));
    // A zstd frame with a window of 16 MiB: magic, a descriptor without a content size, exponent 14.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 0x01, 0x00, 0x00];
    assert_eq!(decode(&[Form::Zstd], &[&frame]), Err(DecodeError::Corrupt));
    // One of 8 MiB is read, if the budget has that.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 0x01, 0x00, 0x00];
    assert_eq!(decode(&[Form::Zstd], &[&frame]).unwrap().0, b"");
    let small = Budget::new(1 << 20);
    let mut decoder = Decoder::new(&Codings(vec![Coding::Zstd]), BOUNDS, &small).unwrap();
    assert_eq!(decoder.decode(&mut &frame[..], &mut Vec::new()), Err(DecodeError::Overload));
    assert!(Decoder::new(&Codings(vec![Coding::Gzip]), BOUNDS, &Budget::new(100)).is_err());
    assert!(Encoder::new(&[Form::Brotli], None, &Budget::new(100)).is_none());
}

#[test]
fn large_windows_leave_half_of_the_budget_to_others() {
    let budget = Budget::new(64 << 20);
    // A zstd frame with a window of 8 MiB, and the beginning of one of its blocks.
    let begin: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 0x08, 0x00, 0x00, b'a'];
    let mut held = Vec::new();
    let refused = (0..64).find_map(|_| {
        let mut decoder = Decoder::new(&Codings(vec![Coding::Zstd]), BOUNDS, &budget).unwrap();
        let mut rest = begin;
        while !rest.is_empty() {
            if let Err(error) = decoder.decode(&mut rest, &mut Vec::new()) {
                return Some(error);
            }
        }
        held.push(decoder);
        None
    });
    assert_eq!(refused, Some(DecodeError::Overload));
    assert!(!held.is_empty() && budget.used() <= budget.limit() / 2, "{}", budget.used());
    assert!(Decoder::new(&Codings(vec![Coding::Gzip]), BOUNDS, &budget).is_ok());
    drop(held);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_a_message_names() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Codings::of(&headers)
    };
    assert!(of(&[]).unwrap().is_identity());
    assert!(of(&["identity", "", ", Identity"]).unwrap().is_identity());
    assert_eq!(of(&["x-GZIP, br", "zstd"]), Ok(Codings(vec![Coding::Gzip, Coding::Brotli, Coding::Zstd])));
    assert!(of(&["gzip, gzip, gzip, gzip"]).is_err());
    assert!(of(&["gzip, compress"]).is_err());
    assert!(of(&["gzip;q=1"]).is_err());
}

fn forms() -> impl Strategy<Value = Vec<Form>> {
    prop::collection::vec(prop::sample::select(&ALL[..]), 1..=MAX_CODINGS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_coded_is_decoded(
        forms in forms(), plain in prop::collection::vec(any::<u8>(), 0..3_000), size in 1usize..700,
    ) {
        let coded = encode(&forms, &plain);
        let pieces: Vec<&[u8]> = coded.chunks(size).collect();
        let (decoded, seen) = decode(&forms, &pieces).unwrap();
        prop_assert_eq!(decoded, plain);
        prop_assert_eq!(seen, forms);
    }

    #[test]
    fn noise_is_refused_or_read_but_never_more(
        forms in forms(), noise in prop::collection::vec(any::<u8>(), 1..400),
    ) {
        drop(decode(&forms, &[&noise]));
    }
}
