//! Documents made of bytes: JSON, or nearly, with whatever is hard on a scanner that looks at sixty-four bytes at once. The same bytes
//! make the same document, so a fuzzer can steer it.

/// Names that the selectors of the targets mention, and what looks like them.
const NAMES: &[&str] = &[
    "ssn",
    "a",
    "b",
    "c",
    "d",
    "",
    "s\\u0073n",
    "ss\\u006E",
    "\\u0073\\u0073\\u006e",
    "ssm",
    "sn",
    "xssn",
    "ssn\\\\",
    "\\\"ssn",
    "ssn\\\"",
    "\\\\",
    "\\\\\\\\",
    "é",
    "\\u00e9",
    "😀",
    "\\ud83d\\ude00",
    "\\uD83D\\uDE00",
    "\\ud83d",
    "a\\u0000",
    "card",
    "number",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "{\\\"ssn\\\":1}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaassn",
];

const SCALARS: &[&str] = &[
    "0",
    "-0",
    "1",
    "12",
    "-1.5e+10",
    "1E5",
    "0.1",
    "1e-7",
    "123456789012345678901234567890.0",
    "true",
    "false",
    "null",
    "\"\"",
    "\"x\"",
    "\"\\\"\"",
    "\"\\\\\"",
    "\"\\\\\\\\\"",
    "\"}\"",
    "\"{[\"",
    "\",:\"",
    "\"\\u0041\\ud83d\\ude00\"",
    "\"é😀€\"",
    "\"\\/\\b\\f\\n\\r\\t\"",
    "\"ssn\"",
    "\"\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}\"",
];

/// What no JSON has, at least not there.
const WRONG: &[&[u8]] = &[
    b"01",
    b"-",
    b"1.",
    b".5",
    b"1e",
    b"1e+",
    b"1.5.5",
    b"1e5e5",
    b"1e5.5",
    b"+1",
    b"--1",
    b"1-1",
    b"0x1",
    b"truE",
    b"tru",
    b"nulll",
    b"true1",
    b"1true",
    b"\"\\x\"",
    b"\"\\u12g4\"",
    b"\"\n\"",
    b"\"\0\"",
    b"\"\x80\"",
    b"\"\xc3\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xc0\x80\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xe0\x9f\xbf\"",
    b"\"\xf0\x8f\xbf\xbf\"",
    b"\xc3\xa9",
    b"'a'",
    b"/**/",
    b"\x0b",
    b"\xef\xbb\xbf",
    b",",
    b":",
    b"}",
    b"]",
    b"{",
    b"[",
    b"\"",
    b"\\",
    b"\\\"",
    b"\"a\"\"b\"",
    b"[1 2]",
    b"[1,]",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\":1,}",
    b"{1:2}",
    b"[1:2]",
    b"{\"a\",\"b\"}",
    b"{\"a\":1:2}",
    b"{\"a\" \"b\"}",
    b"[\"a\":1]",
    b"{[]:1}",
    b"{{}}",
    b"[]]",
    b"[}",
    b"{]",
];

/// A document.
pub fn document(choices: &[u8]) -> Vec<u8> {
    let mut maker = Maker { choices, out: Vec::new() };
    maker.white();
    maker.value(0);
    maker.white();
    let Maker { choices, mut out } = maker;
    // What is left of the choices breaks it, if there is enough.
    if let [a, b, with, rest @ ..] = choices
        && rest.len() % 2 == 1
        && !out.is_empty()
    {
        let at = usize::from(u16::from_le_bytes([*a, *b])) % out.len();
        match with % 4 {
            0 => out[at] = rest[0],
            1 => drop(out.remove(at)),
            2 => out.truncate(at),
            _ => drop(out.splice(at..at, WRONG[usize::from(rest[0]) % WRONG.len()].iter().copied())),
        }
    }
    out
}

struct Maker<'a> {
    choices: &'a [u8],
    out: Vec<u8>,
}

impl Maker<'_> {
    /// 0 once there are no more.
    fn choose(&mut self) -> u8 {
        let Some((first, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        *first
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn value(&mut self, depth: usize) {
        let what = self.choose();
        match what {
            0..=89 if depth < 40 => self.members(depth, what % 4),
            90..=159 if depth < 40 => self.elements(depth, what % 4),
            160..=179 => self.long_text(usize::from(what - 160) * 7),
            180..=183 if depth < 2 => self.deep(usize::from(what) * 3 - 500),
            250..=251 => {
                let which = usize::from(self.choose());
                self.out.extend_from_slice(WRONG[which % WRONG.len()]);
            }
            _ => self.put(SCALARS[usize::from(what) % SCALARS.len()]),
        }
    }

    fn members(&mut self, depth: usize, count: u8) {
        self.put("{");
        for n in 0..count {
            if n > 0 {
                self.put(",");
            }
            self.white();
            let name = usize::from(self.choose());
            self.put("\"");
            self.put(NAMES[name % NAMES.len()]);
            self.put("\"");
            self.white();
            self.put(":");
            self.white();
            self.value(depth + 1);
            self.white();
        }
        self.put("}");
    }

    fn elements(&mut self, depth: usize, count: u8) {
        self.put("[");
        for n in 0..count {
            if n > 0 {
                self.put(",");
            }
            self.white();
            self.value(depth + 1);
            self.white();
        }
        self.put("]");
    }

    fn deep(&mut self, levels: usize) {
        for n in 0..levels {
            self.put(if n % 3 == 0 { "[" } else { "{\"a\":" });
        }
        self.put("1");
        for n in (0..levels).rev() {
            self.put(if n % 3 == 0 { "]" } else { "}" });
        }
    }

    /// Moves what follows to another place in its block.
    fn white(&mut self) {
        let how = self.choose();
        if how >= 200 {
            let byte = [b' ', b'\n', b'\t', b'\r'][usize::from(how % 4)];
            let count = if how >= 240 { usize::from(how - 200) * 3 } else { usize::from(how - 200) };
            self.out.extend(std::iter::repeat_n(byte, count));
        }
    }

    fn long_text(&mut self, length: usize) {
        let kind = self.choose();
        self.put("\"");
        for n in 0..length {
            let text = match (usize::from(kind) + n * usize::from(kind >> 5)) % 9 {
                0 => "\\\\",
                1 => "é",
                2 => "\\\"",
                3 => "}",
                4 => "\\u0022",
                5 => "😀",
                _ => "x",
            };
            self.put(text);
        }
        self.put("\"");
    }
}
