//! What is written of what was read: the same bytes, or the members that the application takes, each as it came.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::client::Answer;
use crate::json::scan::Kind;
use crate::jsonpath::tree::Tree;
use crate::jsonpath::{Path, select};

const MAX_DEPTH: usize = 512;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Where in an answer the record stands; empty: it is the answer.
    pub record: Vec<Arc<Path>>,
    /// Members of the record that alone are written; empty: all.
    pub members: Vec<String>,
    /// Members that are not written.
    pub without: Vec<String>,
    /// The media type of what is written; `None`: that of what was read.
    pub content_type: Option<HeaderValue>,
}

impl Shape {
    /// The body to write, and its media type.
    pub fn of(&self, answer: &Answer) -> Result<(Bytes, HeaderValue), String> {
        let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !answer.headers.get_all(CONTENT_ENCODING).iter().all(identity) {
            return Err("its answer is compressed, which was not asked for".to_owned());
        }
        let json = || HeaderValue::from_static("application/json");
        let kind = self.content_type.clone().or_else(|| answer.headers.get(CONTENT_TYPE).cloned());
        Ok((self.cut(&answer.body)?, kind.unwrap_or_else(json)))
    }

    /// The same of bytes alone.
    pub fn cut(&self, body: &Bytes) -> Result<Bytes, String> {
        let record = if self.record.is_empty() {
            body.clone()
        } else {
            let found = select(body, &self.record).map_err(|_| "its answer is no JSON".to_owned())?;
            match found.as_slice() {
                [one] => body.slice(one.span.clone()),
                several => return Err(format!("--record finds {} values in its answer", several.len())),
            }
        };
        if self.members.is_empty() && self.without.is_empty() {
            return Ok(record);
        }
        self.members(&record)
    }

    fn members(&self, record: &[u8]) -> Result<Bytes, String> {
        let tree = Tree::parse(record, MAX_DEPTH).map_err(|_| "its answer is no JSON".to_owned())?;
        if tree.kind(tree.root()) != Kind::Object {
            return Err("its answer is no JSON object, so it has no members to choose".to_owned());
        }
        let has = |names: &[String], name: &[u8]| names.iter().any(|n| n.as_bytes() == name);
        let mut body = vec![b'{'];
        for child in tree.children(tree.root()) {
            let name = tree.name(child);
            if (!self.members.is_empty() && !has(&self.members, &name)) || has(&self.without, &name) {
                continue;
            }
            if body.len() > 1 {
                body.push(b',');
            }
            body.push(b'"');
            body.extend_from_slice(tree.raw_name(child));
            body.extend_from_slice(b"\":");
            body.extend_from_slice(tree.raw(child));
        }
        body.push(b'}');
        Ok(body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonpath::compile;

    fn paths(selector: &str) -> Vec<Arc<Path>> {
        compile(selector).unwrap().into_iter().map(|one| one.path).collect()
    }

    #[test]
    fn what_is_chosen_is_written_as_it_came() {
        let body = Bytes::from_static(br#" {"data": {"id":7, "s\u0073n": "1-\u00e9", "n": 1.50, "at":"x"}} "#);
        assert_eq!(Shape::default().cut(&body).unwrap(), body);
        let envelope = Shape { record: paths("$.data"), ..Shape::default() };
        assert_eq!(envelope.cut(&body).unwrap().as_ref(), &body[10..body.len() - 2]);
        let some = Shape { members: vec!["ssn".into(), "n".into()], ..envelope.clone() };
        assert_eq!(some.cut(&body).unwrap().as_ref(), br#"{"s\u0073n":"1-\u00e9","n":1.50}"#);
        let others = Shape { without: vec!["id".into(), "at".into()], ..envelope };
        assert_eq!(others.cut(&body).unwrap().as_ref(), br#"{"s\u0073n":"1-\u00e9","n":1.50}"#);
        assert!(others.cut(&Bytes::from_static(b"[]")).unwrap_err().contains("--record"));
        assert!(Shape { without: vec!["a".into()], ..Shape::default() }.cut(&Bytes::from_static(b"[1]")).is_err());
    }
}
