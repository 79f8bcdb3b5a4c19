//! The JSON engine beside its peers: CPU time in interleaved rounds, lower quartiles, ratios. See ../../README.md.

mod documents;
mod measure;
mod ours;
mod peers;

use std::path::PathBuf;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use documents::{Document, FIVE, FIVE_DEEP};
use measure::{Work, nanoseconds};
use ours::{Bodies, scan, selectors};
use peers::{Rsonpath, Straightforward, serde_json_round_trip, simd_json_round_trip, sonic_rs_round_trip};
use sidecloak::json::framing::Framing;
use sidecloak::json::index::Sight;

const HELP: &str = "json.sh [--rounds N] [--millis N] [--lines-mb N] [--only TEXT]";

struct Options {
    documents: Option<PathBuf>,
    rounds: usize,
    millis: u64,
    lines: usize,
    only: Option<String>,
}

fn main() {
    let options = options();
    let mut summary = Summary::default();
    for (name, count) in [("customers 1 KB", 1), ("customers 10 KB", 10), ("customers 1 MB", 1_000)] {
        if options.wants(name) {
            dense(name, &documents::customers(count), &options, &mut summary);
        }
    }
    for document in documents::large(options.documents.as_deref()) {
        if options.wants(document.name) {
            sparse(&document, &options, &mut summary);
        }
    }
    if options.wants("lines") {
        lines(&options, &mut summary);
    }
    if options.wants("field") {
        fields(&options, &mut summary);
    }
    if options.wants("opened") {
        opened(&options, &mut summary);
    }
    summary.print();
}

/// Finding, and finding and sealing five fields.
fn dense(name: &'static str, document: &[u8], options: &Options, summary: &mut Summary) {
    let five = selectors(FIVE);
    let bodies = Bodies::new(FIVE);
    let mut naive = Straightforward::new(FIVE);
    let deep_bodies = Bodies::new(FIVE_DEEP);
    let mut deep_naive = Straightforward::new(FIVE_DEEP);
    let rsonpath = Rsonpath::new(FIVE);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut copy] = std::array::from_fn(|_| Vec::new());
    scan(document, &five, Sight::new(true), &mut a);
    assert_eq!(a, document);
    let mut work: Vec<(&str, Work<'_>)> = vec![
        ("serde_json", Box::new(|| serde_json_round_trip(document))),
        ("full", Box::new(|| scan(document, &five, Sight::new(true), &mut a))),
        ("structure", Box::new(|| scan(document, &five, Sight::new(false), &mut b))),
        ("byte-wise", Box::new(|| scan(document, &five, Sight::none(), &mut c))),
        ("seal", Box::new(|| {
            bodies.seal(document, Framing::One, &mut d);
            d.len()
        })),
        ("straightforward", Box::new(|| naive.seal(document).len())),
        ("seal, $..x", Box::new(|| {
            deep_bodies.seal(document, Framing::One, &mut f);
            f.len()
        })),
        ("straight., $..x", Box::new(|| deep_naive.seal(document).len())),
        ("sonic-rs", Box::new(|| sonic_rs_round_trip(document))),
        ("simd-json", Box::new(|| simd_json_round_trip(document, &mut copy))),
        ("rsonpath", Box::new(|| rsonpath.matches(document))),
        ("memcpy", Box::new(|| {
            e.clear();
            e.extend_from_slice(std::hint::black_box(document));
            e.len()
        })),
    ];
    let times = table(name, document.len(), &mut work, options);
    let ratio = |a: &str, b: &str| times(a) / times(b);
    if document.len() < 80_000 {
        summary.add("scan, dense 1–10 KB, full", ratio("serde_json", "full"));
        summary.add("scan, dense 1–10 KB, structure", ratio("serde_json", "structure"));
    }
    summary.add("find + seal + splice, dense, full, vs straightforward", ratio("straightforward", "seal"));
    summary.add("…, three of five selectors $..x", ratio("straight., $..x", "seal, $..x"));
    summary.add("structure vs rsonpath, several selectors", ratio("rsonpath", "structure"));
}

fn sparse(document: &Document, options: &Options, summary: &mut Summary) {
    let bytes = document.bytes.as_slice();
    let few = selectors(document.sparse);
    let anywhere = selectors(&[document.anywhere]);
    let (rsonpath, rsonpath_anywhere) = (Rsonpath::new(document.sparse), Rsonpath::new(&[document.anywhere]));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut copy] = std::array::from_fn(|_| Vec::new());
    assert_eq!(scan(bytes, &few, Sight::new(true), &mut a), rsonpath.matches(bytes));
    assert_eq!(scan(bytes, &anywhere, Sight::new(true), &mut a), rsonpath_anywhere.matches(bytes));
    let mut work: Vec<(&str, Work<'_>)> = vec![
        ("serde_json", Box::new(|| serde_json_round_trip(bytes))),
        ("full", Box::new(|| scan(bytes, &few, Sight::new(true), &mut a))),
        ("structure", Box::new(|| scan(bytes, &few, Sight::new(false), &mut b))),
        ("byte-wise", Box::new(|| scan(bytes, &few, Sight::none(), &mut c))),
        ("full, $..x", Box::new(|| scan(bytes, &anywhere, Sight::new(true), &mut d))),
        ("structure, $..x", Box::new(|| scan(bytes, &anywhere, Sight::new(false), &mut e))),
        ("sonic-rs", Box::new(|| sonic_rs_round_trip(bytes))),
        ("simd-json", Box::new(|| simd_json_round_trip(bytes, &mut copy))),
        ("rsonpath", Box::new(|| rsonpath.matches(bytes))),
        ("rsonpath, $..x", Box::new(|| rsonpath_anywhere.matches(bytes))),
        ("memcpy", Box::new(|| {
            f.clear();
            f.extend_from_slice(std::hint::black_box(bytes));
            f.len()
        })),
    ];
    let name = format!("{} {} and {}", document.name, document.sparse.join(" "), document.anywhere);
    let times = table(&name, bytes.len(), &mut work, options);
    let ratio = |a: &str, b: &str| times(a) / times(b);
    summary.add("scan, sparse, 80 KB and more, full", ratio("serde_json", "full"));
    summary.add("scan, sparse, 80 KB and more, structure", ratio("serde_json", "structure"));
    let what = if document.sparse.len() == 1 { "single path" } else { "several selectors" };
    summary.add(&format!("structure vs rsonpath, {what}"), ratio("rsonpath", "structure"));
    summary.add("structure vs rsonpath, one $..x", ratio("rsonpath, $..x", "structure, $..x"));
}

/// NDJSON, each line a document of its own.
fn lines(options: &Options, summary: &mut Summary) {
    let document = documents::lines(options.lines * 1_000_000);
    let bodies = Bodies::new(FIVE);
    let mut naive = Straightforward::new(FIVE);
    let each = || document.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut out = Vec::with_capacity(document.len() * 2);
    let mut work: Vec<(&str, Work<'_>)> = vec![
        ("serde_json", Box::new(|| each().map(serde_json_round_trip).sum())),
        ("seal", Box::new(|| {
            bodies.seal(&document, Framing::Lines, &mut out);
            out.len()
        })),
        ("straightforward", Box::new(|| each().map(|line| naive.seal(line).len()).sum())),
        ("sonic-rs", Box::new(|| each().map(sonic_rs_round_trip).sum())),
    ];
    let times = table(&format!("lines {} MB", options.lines), document.len(), &mut work, &Options { rounds: 3, millis: 1, ..options.like() });
    summary.add("find + seal + splice, dense, full, vs straightforward", times("straightforward") / times("seal"));
}

/// One field through the sealer, and bare calls of AES-GCM.
fn fields(options: &Options, summary: &mut Summary) {
    use sidecloak::crypto::aead::Gcm;
    use sidecloak::crypto::random::Batch;
    use sidecloak::crypto::short::ShortGcm;
    use sidecloak::name::{Class, PartitionName};
    use sidecloak::secret::Secret;
    use sidecloak::token::v1::{FieldKey, InHand, Plain, Recent};
    use sidecloak::token::{EpochId, Suite};
    for length in [16, 40, 64] {
        let text = vec![b'x'; length];
        let key = FieldKey::derive(
            &Secret::from_slice(&[3; 32]).expect("a key"),
            EpochId([1; 10]),
            Suite::Xaes,
            &PartitionName::new("default").expect("a name"),
            &Class::new("ssn"),
        );
        let mut recent = Recent::default();
        let mut key = InHand::new(&key, &mut recent);
        let plain = Plain { text: &text, is_string: true, record_id: None, pad: None, signer: None };
        let cipher = Aes256Gcm::new(&[7; 32].into());
        let aad = [0_u8; 41];
        let own = Gcm::new(&[7; 32]);
        let (mut out, mut buffer, mut ours, mut room) = (Vec::new(), Vec::new(), Vec::new(), [0; 128]);
        let short = ShortGcm::new(&[7; 32], &aad).filter(|_| length <= sidecloak::crypto::short::MOST);
        let mut hash = short.as_ref().map(|short| short.hash());
        // As the values of one body share them.
        let mut random = Batch::default();
        let (mut count, mut used, mut made) = (0, 0, 0);
        let mut work: Vec<(&str, Work<'_>)> = vec![
            ("seal and encode", Box::new(|| {
                out.clear();
                if key.seal_short(&text, &mut random, &mut out).is_none() {
                    key.seal(&plain, &mut random, &mut out).expect("sealed");
                }
                out.len()
            })),
            ("aes-gcm", Box::new(|| {
                buffer.clear();
                buffer.extend_from_slice(&text);
                let nonce = next(&mut count);
                let tag = cipher.encrypt_inout_detached(&nonce.into(), &aad, buffer.as_mut_slice().into()).expect("short");
                usize::from(tag[0])
            })),
            ("aws-lc", Box::new(|| {
                ours.clear();
                ours.extend_from_slice(&text);
                usize::from(own.seal(&next(&mut used), &aad, &mut ours).expect("short")[0])
            })),
        ];
        if let (Some(short), Some(hash)) = (&short, &mut hash) {
            work.push(("crypto::short", Box::new(|| {
                short.seal(hash, &next(&mut made), &text, &mut room).expect("short");
                usize::from(room[length])
            })));
        }
        let times = table(&format!("field of {length} bytes"), length, &mut work, options);
        summary.add("seal + encode of a field of up to 64 bytes, times the bare AEAD call of aes-gcm", times("seal and encode") / times("aes-gcm"));
        summary.add("seal + encode of a field of up to 64 bytes, times the bare AEAD call of aws-lc", times("seal and encode") / times("aws-lc"));
        if short.is_some() {
            summary.add("AES-GCM of aws-lc for a field of up to 48 bytes, times crypto::short", times("aws-lc") / times("crypto::short"));
        }
    }
}

/// A nonce that was not used before.
fn next(count: &mut u64) -> [u8; 12] {
    *count += 1;
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_be_bytes());
    nonce
}

/// An answer with five thousand tokens.
fn opened(options: &Options, _: &mut Summary) {
    let bodies = Bodies::new(FIVE);
    let document = documents::customers(1_000);
    let (mut sealed, mut out, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    bodies.seal(&document, Framing::One, &mut sealed);
    bodies.open(&sealed, Framing::One, &mut out);
    assert_eq!(out, document);
    let mut work: Vec<(&str, Work<'_>)> = vec![
        ("serde_json", Box::new(|| serde_json_round_trip(&sealed))),
        ("open", Box::new(|| {
            bodies.open(&sealed, Framing::One, &mut out);
            out.len()
        })),
        ("memcpy", Box::new(|| {
            copy.clear();
            copy.extend_from_slice(std::hint::black_box(&sealed));
            copy.len()
        })),
    ];
    drop(table("5,000 fields opened", sealed.len(), &mut work, options));
}

/// Measures, prints, and tells.
fn table<'a>(name: &str, bytes: usize, work: &mut Vec<(&'a str, Work<'_>)>, options: &Options) -> impl Fn(&str) -> f64 + use<'a> {
    let (names, mut subjects): (Vec<&'a str>, Vec<Work<'_>>) = std::mem::take(work).into_iter().unzip();
    let times = nanoseconds(&mut subjects, options.rounds, options.millis);
    println!("\n{name}, {bytes} bytes");
    let first = times.first().copied().unwrap_or(1.0);
    for (name, time) in names.iter().zip(&times) {
        println!("  {name:<18} {:>9.3} GB/s {time:>14.0} ns {:>8.2}× the first", bytes as f64 / time, first / time);
    }
    move |name| names.iter().position(|one| *one == name).and_then(|n| times.get(n)).copied().unwrap_or(f64::NAN)
}

#[derive(Default)]
struct Summary(Vec<(String, Vec<f64>)>);

impl Summary {
    fn add(&mut self, what: &str, ratio: f64) {
        match self.0.iter_mut().find(|(name, _)| name == what) {
            Some((_, all)) => all.push(ratio),
            None => self.0.push((what.into(), vec![ratio])),
        }
    }

    fn print(&mut self) {
        println!("\n{:<72} {:>8} {:>8} {:>8}", "figure", "least", "median", "most");
        for (what, all) in &mut self.0 {
            all.sort_by(f64::total_cmp);
            println!("{what:<72} {:>8.2} {:>8.2} {:>8.2}", all[0], all[all.len() / 2], all[all.len() - 1]);
        }
    }
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    fn like(&self) -> Self {
        Self { documents: None, only: None, ..*self }
    }
}

fn options() -> Options {
    let mut options = Options { documents: None, rounds: 11, millis: 8, lines: 10, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        let number = || value.as_deref().and_then(|text| text.parse().ok());
        match (argument.as_str(), &value) {
            ("--documents", Some(place)) => options.documents = Some(place.into()),
            ("--only", Some(text)) => options.only = Some(text.clone()),
            ("--rounds", _) if number().is_some() => options.rounds = number().unwrap_or(11).clamp(1, 1_000) as usize,
            ("--millis", _) if number().is_some() => options.millis = number().unwrap_or(8).clamp(1, 1_000),
            ("--lines-mb", _) if number().is_some() => options.lines = number().unwrap_or(10).clamp(1, 1_000) as usize,
            _ => {
                eprintln!("{HELP}");
                std::process::exit(2);
            }
        }
    }
    options
}
