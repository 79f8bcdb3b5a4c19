//! HTTP/2 clients that want to keep us busy for nothing, frame by frame: the connection is ended, and others are served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rstest::rstest;

use super::stage::eventually;
use super::support::{PATIENCE, Proxy, echo, proxy};

/// Types of frames (RFC 9113 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A header section for `/` at `a.test`, from the static table (RFC 7541 A).
    pub fn request(stream: u32, method: &str, ends: bool) -> Self {
        let mut block = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x84, 0x86, 0x41, 6];
        block.extend(b"a.test");
        Self::new(kind::HEADERS, END_HEADERS | u8::from(ends), stream, block)
    }

    pub fn data(stream: u32, payload: &[u8], ends: bool) -> Self {
        Self::new(kind::DATA, u8::from(ends) * END_STREAM, stream, payload)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A client of raw frames.
pub struct Http2(TcpStream);

impl Http2 {
    pub fn preface() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(Frame::new(kind::SETTINGS, 0, 0, []).bytes());
        bytes
    }

    pub fn new(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&Self::preface()).unwrap();
        Self(stream)
    }

    pub fn send(&mut self, frame: &Frame) {
        self.0.write_all(&frame.bytes()).unwrap();
    }

    pub fn request(&mut self, stream: u32, method: &str, ends: bool) {
        self.send(&Frame::request(stream, method, ends));
    }

    pub fn ping(&mut self) {
        self.send(&Frame::new(kind::PING, 0, 0, [7; 8]));
    }

    /// The next frame; `None` at the end, however it comes.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until such a frame comes, or the end.
    pub fn until(&mut self, is: impl Fn(&Frame) -> bool) -> bool {
        while let Some(frame) = self.frame() {
            if is(&frame) {
                return true;
            }
        }
        false
    }

    /// Sends the same again and again, and takes what comes, until the proxy ends the connection. How much was sent.
    fn flood(mut self, mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
        let mut reads = self.0.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut sink = vec![0; 64 << 10];
            while matches!(reads.read(&mut sink), Ok(1..)) {}
        });
        let (start, mut sent) = (Instant::now(), 0);
        for n in 0.. {
            let bytes = next(n);
            if self.0.write_all(&bytes).is_err() {
                break;
            }
            sent += bytes.len();
            assert!(start.elapsed() < PATIENCE, "{sent} bytes, and no end");
        }
        reader.join().unwrap();
        sent
    }
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn others_are_served(proxy: &Proxy) {
    assert_eq!(proxy.client().get("/").status(), 200);
    assert_eq!(proxy.shared.budget.used(), 0);
    eventually("nothing runs", || proxy.shared.metrics.render().contains("in_flight{listener=\"front\"} 0"));
}

fn many(frame: &Frame, count: usize) -> Vec<u8> {
    frame.bytes().repeat(count)
}

#[rstest]
#[case::pings(Frame::new(kind::PING, 0, 0, [1; 8]))]
#[case::settings(Frame::new(kind::SETTINGS, 0, 0, []))]
#[case::windows(Frame::new(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 1]))]
#[case::priorities(Frame::new(kind::PRIORITY, 0, 1, [0, 0, 0, 3, 5]))]
#[case::unknown_frames(Frame::new(0xfe, 0, 0, [0; 16]))]
fn talk_that_asks_for_nothing_is_ended(#[case] frame: Frame) {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let before = resident();
    let talk = many(&frame, 500);
    let sent = Http2::new(proxy.tcp(0)).flood(|_| talk.clone());
    // What the sockets' buffers took, too.
    assert!(sent < 32 << 20, "{sent}");
    assert!(resident().saturating_sub(before) < 256 << 20);
    others_are_served(&proxy);
}

#[test]
fn empty_data_frames_are_ended() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = Http2::new(proxy.tcp(0));
    client.request(1, "POST", false);
    client.flood(|_| many(&Frame::data(1, b"", false), 500));
    others_are_served(&proxy);
}

#[test]
fn a_header_section_without_end_is_ended() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = Http2::new(proxy.tcp(0));
    let begin = Frame::request(1, "GET", true);
    client.send(&Frame { flags: END_STREAM, ..begin });
    // A field that is indexed by none: `x: y`, again and again.
    let piece = Frame::new(kind::CONTINUATION, 0, 1, [0, 1, b'x', 1, b'y'].repeat(100));
    let sent = client.flood(|_| piece.bytes());
    assert!(sent < 32 << 20, "{sent}");
    assert_eq!(up.count(), 0);
    others_are_served(&proxy);

    // Without a byte in them.
    let mut client = Http2::new(proxy.tcp(0));
    client.send(&Frame { flags: END_STREAM, ..Frame::request(1, "GET", true) });
    client.flood(|_| many(&Frame::new(kind::CONTINUATION, 0, 1, []), 100));
    others_are_served(&proxy);
}

#[test]
fn a_header_list_that_grows_when_read_is_refused() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = Http2::new(proxy.tcp(0));
    // One field of 4,000 bytes is put into the table, and named by one byte a thousand times.
    let mut block = Frame::request(1, "GET", true).payload;
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 1000]);
    client.send(&Frame::new(kind::HEADERS, END_HEADERS | END_STREAM, 1, block));
    assert!(client.until(|frame| frame.stream == 1 || frame.kind == kind::GOAWAY));
    assert_eq!(up.count(), 0);
    others_are_served(&proxy);
}

#[rstest]
#[case::called_back(Frame::new(kind::RST_STREAM, 0, 0, [0, 0, 0, 8]))]
// CVE-2025-8671: the client has us reset the stream.
#[case::made_to_reset(Frame::new(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 0]))]
fn requests_that_are_called_back_at_once_are_ended(#[case] undo: Frame) {
    let (up, _held) = super::limits::held();
    let proxy = proxy(&[&up]).run();
    let sent = Http2::new(proxy.tcp(0)).flood(|n| {
        let stream = 1 + 2 * n;
        // Time enough to be seen, so that what h2 itself counts is not all.
        std::thread::sleep(Duration::from_millis(1));
        let undo = Frame { stream, ..undo.clone() };
        [Frame::request(stream, "GET", true).bytes(), undo.bytes()].concat()
    });
    assert!(sent < 1 << 20, "{sent}");
    eventually("nothing runs", || proxy.shared.metrics.render().contains("in_flight{listener=\"front\"} 0"));
    assert_eq!(Http2::new(proxy.tcp(0)).frame().map(|frame| frame.kind), Some(kind::SETTINGS));
}

#[test]
fn streams_at_once_are_bounded_and_the_rest_is_refused() {
    let (up, _held) = super::limits::held();
    let proxy = proxy(&[&up]).settings(|s| s.limits.http2.streams = 5).run();
    let mut client = Http2::new(proxy.tcp(0));
    for n in 0..10 {
        client.request(1 + 2 * n, "GET", true);
    }
    assert!(client.until(|frame| frame.kind == kind::RST_STREAM && frame.stream == 11));
    eventually("five run", || proxy.shared.metrics.render().contains("in_flight{listener=\"front\"} 5"));
}
