//! AppId and SecPartId, and the partition that a pair of them is. Two pairs never are one partition: an AppId holds no dot, and a
//! SecPartId enters percent-encoded, as a value enters a rule's template (`key: "2376.{header:x-tenant}"`).

use serde_json::Value;

use super::assumed;
use crate::authority::credentials::check_app;
use crate::name::PartitionName;

/// An application's name: 1 to 64 characters of `A-Za-z0-9_-`; written as a number where it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppId(String);

/// Numbers that every client reads exactly.
const MOST: u64 = (1 << 53) - 1;

impl AppId {
    /// Reads one that stands in a path or query.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_app(text).map_err(|error| error.to_string())?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && text.len() > 1 && text.starts_with('0') {
            return Err("The AppId field is a number with leading zeros.".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads one that stands in a body, as text or number.
    pub fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => match number.as_u64() {
                Some(number) if number <= MOST => Ok(Self(number.to_string())),
                _ => Err(format!("The AppId field is not a whole number from 0 to {MOST}.")),
            },
            _ => Err("The AppId field is neither text nor a number.".into()),
        }
    }

    /// As it stands in partitions' names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in answers.
    pub fn to_value(&self) -> Value {
        match self.0.parse::<u64>() {
            Ok(number) if number <= MOST => number.into(),
            _ => self.0.as_str().into(),
        }
    }

    /// What the names of its partitions begin with.
    pub fn prefix(&self) -> String {
        format!("{}.", self.0)
    }

    /// The partition of one of its SecPartIds.
    pub fn partition(&self, sec_part_id: &str) -> Result<PartitionName, String> {
        if sec_part_id.is_empty() || sec_part_id.len() > assumed::SEC_PART_ID {
            return Err(format!("The SecPartId field has 1 to {} bytes.", assumed::SEC_PART_ID));
        }
        let mut name = self.prefix();
        PartitionName::escape_into(sec_part_id.as_bytes(), &mut name);
        PartitionName::new(&name).map_err(|_| "The SecPartId field is too long with these characters.".into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_application_is_text_or_number() {
        for (sent, name, answered) in [
            (Value::from(2376), "2376", Value::from(2376)),
            (Value::from("2376"), "2376", Value::from(2376)),
            (Value::from("shop_7-A"), "shop_7-A", Value::from("shop_7-A")),
            (Value::from("99999999999999999999"), "99999999999999999999", Value::from("99999999999999999999")),
            (Value::from(0), "0", Value::from(0)),
        ] {
            let app = AppId::read(&sent).unwrap();
            assert_eq!((app.as_str(), app.to_value()), (name, answered));
        }
        for wrong in ["", "a.b", "a b", "007", "a%2E", "é", "a/b", &"a".repeat(65)] {
            assert!(AppId::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["1.5", "-1", "9007199254740992", "1e3", "true", "[]", "null"] {
            assert!(AppId::read(&serde_json::from_str(wrong).unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_partition_is_named_as_a_template_names_it() {
        let app = AppId::parse("2376").unwrap();
        for (id, name) in
            [("tenant4758", "2376.tenant4758"), ("a.b", "2376.a%2Eb"), ("Zoë", "2376.Zo%C3%AB"), ("%2E", "2376.%252E")]
        {
            assert_eq!(app.partition(id).unwrap().as_str(), name);
        }
        for wrong in ["", &"a".repeat(129), &"é".repeat(60)] {
            assert!(app.partition(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn two_pairs_never_are_one_partition(
            a in "[a-c0-2_-]{1,3}", b in "[a-c0-2_-]{1,3}", c in "[.%a-cE2]{1,4}", d in "[.%a-cE2]{1,4}"
        ) {
            let (one, other) = (AppId::parse(&a), AppId::parse(&b));
            if let (Ok(one), Ok(other)) = (one, other) {
                let same = one.partition(&c).unwrap() == other.partition(&d).unwrap();
                prop_assert_eq!(same, (a, c) == (b, d));
            }
        }
    }
}
