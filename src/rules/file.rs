//! The files as written: what each key may hold, nothing yet about whether it makes sense together. The doc comments here
//! become the descriptions of the JSON Schema.

use std::ops::Range;

use schemars::JsonSchema;

pub use super::value::{
    Body, Choice, EndAction, FromNode, Given, Many, ManyScalars, Nulls, OnErrorWord, OnPlaintextWord, Pairs, Parse,
};

use super::yaml::{At, Node, Reader, Yaml, closest};
use super::{Caching, Mode, OnToken, OnUnreadable, Rewrite, TextType, Validate};

/// Declares a mapping: its struct, its schema, and how it is read. An unknown key is an error that names the closest known
/// one; a key listed under `not yet` is refused as such.
macro_rules! mapping {
    (
        $(#[$meta:meta])* $name:ident {
            $( $(#[$field_meta:meta])* $key:literal $field:ident: $ty:ty, )*
        }
        not yet [ $($later:literal),* ]
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $( $(#[$field_meta])* #[schemars(rename = $key, default)] pub $field: Given<$ty>, )*
        }

        impl FromNode for $name {
            fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let Yaml::Map(entries) = &node.value else {
                    let message = format!("expected a mapping, found {}", node.value.kind());
                    reader.error(&node.span, "type", message, concat!("its keys are: ", $("`", $key, "` "),*));
                    return None;
                };
                let mut read = Self::default();
                for (key, value) in entries {
                    match key.value.as_str() {
                        $( $key => read.$field.read($key, value, reader), )*
                        $( $later => reader.error(
                            &key.span, "not-yet", concat!("`", $later, "` is not available yet"),
                            "remove it; docs/rules.md lists what is available",
                        ), )*
                        other => unknown(&key.span, other, &[$($key),*], reader),
                    }
                }
                Some(read)
            }
        }
    };
}

mapping! {
    /// Sidecloak rules. Files of a directory are read in the order of their names.
    RuleFile {
        /// The rules, in the order in which they apply.
        "rules" rules: Vec<At<RuleEntry>>,
    }
    not yet []
}

mapping! {
    /// One rule: which exchanges it meets, and what it does to them.
    RuleEntry {
        /// Unique over all files; what logs and metrics carry.
        "name" name: String,
        /// Which exchanges the rule meets.
        "match" matches: MatchEntry,
        /// `pass` or `reject`: the first such rule that matches ends the search.
        "action" action: Choice<EndAction>,
        /// Seals in the request, opens in the response: the upstream never sees plaintext.
        "protect" protect: Vec<At<ActionEntry>>,
        /// Opens in the request, seals in the response: the downstream never sees plaintext.
        "expose" expose: Vec<At<ActionEntry>>,
        /// What is done to the request.
        "request" request: Vec<At<ActionEntry>>,
        /// What is done to the response.
        "response" response: Vec<At<ActionEntry>>,
        /// The step of the roll-out, for every action that gives none.
        "mode" mode: Choice<Mode>,
        /// Media types that are read as JSON beside `application/json` and `+json`.
        "json_types" json_types: Many,
        /// Headers that carry a signature over the body, beside the known ones.
        "signature_headers" signature_headers: Many,
        /// A body that is not JSON. Default: `reject` where the rule seals the message, `pass` where it only opens.
        "on_media_type" on_media_type: Choice<OnUnreadable>,
        /// A body that says it is JSON and is not.
        "on_invalid_json" on_invalid_json: Choice<OnUnreadable>,
        /// A content coding that cannot be read.
        "on_encoding" on_encoding: Choice<OnUnreadable>,
        /// A value over `max_value`, or a part over `max_buffered`.
        "on_too_large" on_too_large: Choice<OnUnreadable>,
        /// An `Upgrade` to another protocol.
        "on_upgrade" on_upgrade: Choice<OnUnreadable>,
        /// A signature over a body that would change. Default: `reject`.
        "on_signature" on_signature: Choice<OnUnreadable>,
        /// Creates an unknown partition on first use.
        "provision" provision: bool,
        /// How many partitions there may be before `provision` stops. Default: 1000.
        "max_partitions" max_partitions: usize,
        /// Longest part of a body that is held so that a filter or an index from the end can look at it. Default: `limits.value`.
        "max_buffered" max_buffered: usize,
        /// What caches may do with answers that have opened values in them. Default: `no-store`.
        "cache" cache: Choice<Caching>,
        /// Requests' changed bodies up to this many bytes leave with a `Content-Length`, for applications that refuse chunks;
        /// longer ones are refused. Default: only those up to `limits.buffer`, longer ones leave in chunks.
        "always_length" always_length: usize,
        /// `structure`: where no selector selects anything, only strings and brackets are checked, which is faster, and risky.
        "validate" validate: Choice<Validate>,
        /// Run at every load, against all rules of the load; one that fails refuses the files.
        "tests" tests: Vec<At<TestEntry>>,
    }
    not yet []
}

mapping! {
    /// Conditions; all that are given must hold.
    MatchEntry {
        /// A glob or a list of them, over the normalised path: `*` within a segment, `**` any number of segments, `{name}` captures one.
        "path" path: Many,
        /// Globs of paths that the rule does not meet.
        "except" except: Many,
        /// Request methods.
        "method" method: Many,
        /// Names of listeners.
        "listener" listener: Many,
        /// Globs over the host, without the port.
        "host" host: Many,
        /// Request headers and the glob that their value must match.
        "header" header: Pairs,
        /// Statuses of the response: `404`, `2xx`, or a list.
        "status" status: ManyScalars,
        /// Globs over the media type of the response.
        "content_type" content_type: Many,
    }
    not yet []
}

mapping! {
    /// Fields and what is done to them.
    ActionEntry {
        /// RFC 9535 JSONPath selectors, or `query:NAME`, `path:NAME`, `header:NAME`, `cookie:NAME`, `form:NAME` (under `protect` and
        /// `expose`).
        "fields" fields: Many,
        /// The same, of values to seal (under `request` and `response`).
        "seal" seal: Many,
        /// The same, of values to open (under `request` and `response`).
        "open" open: Many,
        /// The selected strings hold JSON, in which `inside` selects.
        "parse" parse: Choice<Parse>,
        /// RFC 9535 JSONPath selectors within the text of each selected string (with `parse`).
        "inside" inside: Many,
        /// A partition, a template such as `tenant-{tenant}`, or (opening only) a glob. Default: `default`.
        "key" key: String,
        /// The step of the roll-out. Default: `enforce`.
        "mode" mode: Choice<Mode>,
        /// Equal values give equal tokens.
        "deterministic" deterministic: bool,
        /// Signs when sealing; refuses unsigned tokens when opening.
        "sign" sign: bool,
        /// Ids of the signers accepted, 32 hexadecimal digits each. Default: any that the partition lists.
        "signers" signers: Many,
        /// The logical field. Default: the last member name written in the selector.
        "class" class: String,
        /// What happens to `null` when sealing. Default: `pass`.
        "nulls" nulls: Choice<Nulls>,
        /// Values are padded to multiples of this many bytes.
        "pad" pad: usize,
        /// A body without a match is rejected. In a shorthand: the request's body.
        "required" required: bool,
        /// Longest token the application's column takes.
        "max_length" max_length: usize,
        /// Longest value sealed or opened, in bytes. Default: `limits.value`.
        "max_value" max_value: usize,
        /// When opening fails (sealing alone: when sealing fails). Default: `reject`.
        "on_error" on_error: Choice<OnErrorWord>,
        /// When opening finds no token in mode `enforce`. Default: `reject`.
        "on_plaintext" on_plaintext: Choice<OnPlaintextWord>,
        /// When sealing finds text that begins with `sc1.`. Default: `reject`.
        "on_token" on_token: Choice<OnToken>,
        /// What opening shows: `plain`, `mask(n)` or `redact`. Default: `plain`.
        "reveal" reveal: String,
        /// What a value is bound to, so that its token does not move to another record: `@.id` (from the object that holds it),
        /// `$.customer.id`, or `path:NAME`.
        "bind" bind: String,
        /// The AEAD of random tokens: 1 is XAES-256-GCM, 2 is AES-256-GCM. Default: 1.
        "suite" suite: usize,
        /// What the application checks on this field, such as `date`, `email`, `digits`: the check warns where a token will not pass.
        "format" format: String,
        /// Of text from outside of JSON: the JSON type that it stands for, so that `?account=42` finds the token of the number
        /// 42. Default: `string`.
        "type" text_type: Choice<TextType>,
        /// Deterministic look-ups outside the body after a rollover: `current` asks for the current token only, `fallback` then
        /// for the previous one where the answer is 404 or an empty array, `all` for both at once. Default: `current`.
        "rewrite" rewrite: Choice<Rewrite>,
        /// Opening: tokens inside a longer text are opened in place.
        "embedded" embedded: bool,
    }
    not yet []
}

mapping! {
    /// A test: an exchange, and what the rules do to it.
    TestEntry {
        /// For the report.
        "name" name: String,
        /// The request.
        "when" when: WhenEntry,
        /// Its body: text is taken as it stands, anything else as JSON.
        "request" request: Body,
        /// The response's body.
        "response" response: Body,
        /// Header fields of the response.
        "response_headers" response_headers: Pairs,
        /// The response's status. Default: 200.
        "status" status: usize,
        /// The normalized paths (RFC 9535 2.7), or the fields such as `query:ssn`, of exactly the values that are sealed.
        "seals" seals: Vec<At<String>>,
        /// The same of exactly the values that are opened.
        "opens" opens: Vec<At<String>>,
        /// No rule touches the exchange.
        "untouched" untouched: bool,
        /// The status it is refused with.
        "rejected" rejected: usize,
    }
    not yet []
}

mapping! {
    /// The request of a test.
    WhenEntry {
        /// Default: GET without a body, POST with one.
        "method" method: String,
        /// As in the request line, escapes and all.
        "path" path: String,
        /// Request headers.
        "headers" headers: Pairs,
        /// The listener. Default: any.
        "listener" listener: String,
        /// The host.
        "host" host: String,
        /// The Content-Type of the request's body. Default: application/json.
        "content_type" content_type: String,
    }
    not yet []
}

fn unknown(span: &Range<usize>, key: &str, known: &[&str], reader: &mut Reader<'_>) {
    let help = match closest(key, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    };
    reader.error(span, "unknown-key", format!("unknown key `{key}`"), &help);
}
