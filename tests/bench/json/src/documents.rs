//! What is measured on.

use std::path::Path;

use serde_json::{Value, json};

/// A document and what is looked for in it.
pub struct Document {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// Few matches for many bytes.
    pub sparse: &'static [&'static str],
    /// One name at any depth.
    pub anywhere: &'static str,
}

/// What is sealed of a customer: about a tenth of the bytes.
pub const FIVE: &[&str] = &[
    "$.customers[*].ssn",
    "$.customers[*].email",
    "$.customers[*].phone",
    "$.customers[*].card.number",
    "$.customers[*].metadata.ref",
];

/// The same amount, three names of it at any depth.
pub const FIVE_DEEP: &[&str] =
    &["$..ssn", "$..email", "$..phone", "$.customers[*].card.number", "$.customers[*].address.line1"];

/// `{"customers":[…]}` of so many.
pub fn customers(count: u64) -> Vec<u8> {
    let all: Vec<Value> = (0..count).map(customer).collect();
    serde_json::to_vec(&json!({ "customers": all })).expect("JSON")
}

/// One a line, in so many bytes.
pub fn lines(bytes: usize) -> Vec<u8> {
    let some: Vec<Vec<u8>> =
        (0..500).map(|n| serde_json::to_vec(&json!({ "customers": [customer(n)] })).expect("JSON")).collect();
    let mut out = Vec::with_capacity(bytes);
    for line in some.iter().cycle() {
        out.extend_from_slice(line);
        out.push(b'\n');
        if out.len() >= bytes {
            return out;
        }
    }
    out
}

/// The documents of 80 KB and more.
pub fn large(place: Option<&Path>) -> Vec<Document> {
    let mut all = vec![Document {
        name: "customers 1 MB",
        bytes: customers(1_000),
        sparse: &["$.customers[*].ssn", "$.customers[*].card.number"],
        anywhere: "$..ssn",
    }];
    let published: [(&str, &str, &[&str], &str); 4] = [
        ("twitter", "twitter.json", &["$.statuses[*].user.screen_name"], "$..screen_name"),
        ("twitterescaped", "twitterescaped.json", &["$.statuses[*].user.screen_name"], "$..screen_name"),
        ("citm_catalog", "citm_catalog.json", &["$.performances[*].name"], "$..seatCategoryId"),
        ("canada", "canada.json", &["$.features[*].properties.name"], "$..type"),
    ];
    for (name, file, sparse, anywhere) in published {
        match place.map(|place| std::fs::read(place.join(file))) {
            Some(Ok(bytes)) => all.push(Document { name, bytes, sparse, anywhere }),
            _ => println!("# {name}: not there, left out"),
        }
    }
    all
}

fn customer(n: u64) -> Value {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let hex = |random: &mut dyn FnMut(u64) -> u64, digits: usize| -> String {
        (0..digits).map(|_| char::from_digit(random(16) as u32, 16).unwrap_or('0')).collect()
    };
    let one_of = |random: &mut dyn FnMut(u64) -> u64, of: &[&'static str]| of[random(of.len() as u64) as usize];
    let item = |random: &mut dyn FnMut(u64) -> u64| {
        json!({
            "sku": format!("SKU-{:06}", random(1_000_000)), "qty": 1 + random(9), "price": random(99_999) as f64 / 100.0,
            "desc": "A fairly ordinary product description",
        })
    };
    json!({
        "id": format!("cus_{}", hex(&mut random, 16)), "object": "customer", "created": 1_700_000_000 + n, "livemode": true,
        "currency": "eur", "balance": random(20_000) as f64 / 100.0,
        "name": { "first": one_of(&mut random, &["Zoë", "Anna", "João", "Max"]), "last": one_of(&mut random, &["O'Neil", "Müller", "Smith"]) },
        "email": format!("user{n}@example.com"), "phone": format!("+49 30 {:07}", random(10_000_000)),
        "ssn": format!("{:03}-{:02}-{:04}", 1 + random(899), 1 + random(99), 1 + random(9_999)),
        "address": { "line1": format!("{} Example Street", random(999)), "line2": null, "city": "Springfield",
            "postal_code": format!("{:05}", random(100_000)), "country": "US" },
        "card": { "brand": "visa", "number": format!("4{:015}", random(1_000_000_000_000_000)), "exp_month": 1 + random(12), "exp_year": 2030,
            "cvc_check": "pass" },
        "metadata": { "plan": "gold", "ref": hex(&mut random, 32), "note": "line one\nline \"two\" \\ end" },
        "preferences": { "newsletter": false, "locale": "en-US", "tags": ["a", "b", "vip", format!("beta-{}", n % 97)] },
        "items": [item(&mut random), item(&mut random)],
    })
}
