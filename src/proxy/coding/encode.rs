//! Codes a changed body as it came. Levels are those that cost about as much as reading did: a proxy must not become the
//! slowest part of the way, and what is sealed hardly compresses anyway.

use std::io;

use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::flate::params::FlateEncoderParams;
use async_compression::codecs::{BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder};
use async_compression::core::Level;
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use crate::proxy::budget::{Budget, Lease};

/// gzip, deflate: between nginx's 1 and zlib's 6.
const FLATE_LEVEL: i32 = 4;
const BROTLI_LEVEL: i32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Of brotli and zstd: larger ones cost each stream megabytes.
const WINDOW_LOG: u32 = 18;
/// What an encoder of DEFLATE holds.
const FLATE_STATE: usize = 340 * 1024;
/// What one of brotli holds at this level and window.
const BROTLI_STATE: usize = 2 * 1024 * 1024;
/// Output grows by steps of this.
const STEP: usize = 8 * 1024;

/// A coding as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One gzip member.
    Gzip,
    /// `deflate` as it should be.
    Zlib,
    /// `deflate` as it came.
    Raw,
    /// A brotli stream.
    Brotli,
    /// A zstd frame.
    Zstd,
}

/// Codes one body.
pub struct Encoder {
    /// In the order of application.
    layers: Vec<Layer>,
    #[expect(dead_code, reason = "held")]
    lease: Lease,
    /// Something was taken in since all of it last left.
    dirty: bool,
}

enum Layer {
    Codec(Box<dyn EncodeV2 + Send>),
    Zstd(CCtx<'static>),
}

#[derive(Clone, Copy)]
enum Operation {
    Take,
    Flush,
    Finish,
}

impl Encoder {
    /// For a body that shall leave in these forms; `length` if it is known. `None`: the byte budget is spent.
    pub fn new(forms: &[Form], length: Option<usize>, budget: &Budget) -> Option<Self> {
        let mut layers = Vec::with_capacity(forms.len());
        let mut holds = 0;
        for (at, form) in forms.iter().enumerate() {
            let (layer, state) = Layer::new(*form, length.filter(|_| at == 0))?;
            layers.push(layer);
            holds += state;
        }
        Some(Self { layers, lease: budget.try_take(holds)?, dirty: false })
    }

    /// Takes `input` in, and appends what may leave.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.dirty |= !input.is_empty();
        self.run(input, Operation::Take, out)
    }

    /// Has everything leave that was taken in.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) { self.run(&[], Operation::Flush, out) } else { Ok(()) }
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.run(&[], Operation::Finish, out)
    }

    fn run(&mut self, input: &[u8], operation: Operation, out: &mut Vec<u8>) -> io::Result<()> {
        let Some((last, before)) = self.layers.split_last_mut() else {
            out.extend_from_slice(input);
            return Ok(());
        };
        let mut given: Option<Vec<u8>> = None;
        for layer in before {
            let mut next = Vec::new();
            layer.run(given.as_deref().unwrap_or(input), operation, &mut next)?;
            given = Some(next);
        }
        last.run(given.as_deref().unwrap_or(input), operation, out)
    }
}

impl Layer {
    /// With what it holds.
    fn new(form: Form, length: Option<usize>) -> Option<(Self, usize)> {
        let level = || FlateEncoderParams::from(Level::Precise(FLATE_LEVEL));
        Some(match form {
            Form::Gzip => (Self::Codec(Box::new(GzipEncoder::new(level()))), FLATE_STATE),
            Form::Zlib => (Self::Codec(Box::new(ZlibEncoder::new(level()))), FLATE_STATE),
            Form::Raw => (Self::Codec(Box::new(DeflateEncoder::new(level()))), FLATE_STATE),
            Form::Brotli => {
                let window = i32::try_from(WINDOW_LOG).ok()?;
                let params = EncoderParams::default().quality(Level::Precise(BROTLI_LEVEL)).window_size(window);
                let params = params.text_mode().size_hint(length.unwrap_or_default());
                (Self::Codec(Box::new(BrotliEncoder::new(params))), BROTLI_STATE)
            }
            Form::Zstd => {
                let mut context = CCtx::try_create()?;
                context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)).ok()?;
                context.set_parameter(CParameter::WindowLog(WINDOW_LOG)).ok()?;
                context.set_parameter(CParameter::ChecksumFlag(true)).ok()?;
                context.set_pledged_src_size(length.map(|length| length as u64)).ok()?;
                // Nothing is allocated before the first byte; a window, its tables and a block.
                (Self::Zstd(context), 6 << WINDOW_LOG)
            }
        })
    }

    fn run(&mut self, mut input: &[u8], operation: Operation, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let begin = out.len();
            out.resize(begin + STEP, 0);
            let room = out.get_mut(begin..).unwrap_or_default();
            let (taken, given, done) = match self {
                Self::Codec(codec) => step(&mut **codec, input, operation, room)?,
                Self::Zstd(context) => zstd(context, input, operation, room)?,
            };
            out.truncate(begin + given);
            input = input.get(taken..).unwrap_or_default();
            if done && input.is_empty() {
                return Ok(());
            }
        }
    }
}

fn step(
    codec: &mut dyn EncodeV2,
    input: &[u8],
    operation: Operation,
    room: &mut [u8],
) -> io::Result<(usize, usize, bool)> {
    let mut from = PartialBuffer::new(input);
    let mut to = WriteBuffer::new_initialized(room);
    let done = if input.is_empty() {
        match operation {
            Operation::Take => true,
            Operation::Flush => codec.flush(&mut to)?,
            Operation::Finish => codec.finish(&mut to)?,
        }
    } else {
        codec.encode(&mut from, &mut to)?;
        matches!(operation, Operation::Take)
    };
    Ok((from.written_len(), to.written_len(), done))
}

fn zstd(
    context: &mut CCtx<'static>,
    input: &[u8],
    operation: Operation,
    room: &mut [u8],
) -> io::Result<(usize, usize, bool)> {
    let broken = |_| io::Error::other("zstd");
    let mut to = OutBuffer::around(room);
    let mut from = InBuffer::around(input);
    let done = if input.is_empty() {
        match operation {
            Operation::Take => true,
            Operation::Flush => context.flush_stream(&mut to).map_err(broken)? == 0,
            Operation::Finish => context.end_stream(&mut to).map_err(broken)? == 0,
        }
    } else {
        context.compress_stream(&mut to, &mut from).map_err(broken)?;
        matches!(operation, Operation::Take)
    };
    Ok((from.pos(), to.pos(), done))
}
