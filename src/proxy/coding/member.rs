//! One decoder of one stream: a gzip member, a zlib or DEFLATE stream, a brotli stream, a zstd frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_compression::codecs::{DecodeV2, GzipDecoder};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use brotli_decompressor::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::Coding;
use super::encode::Form;

/// Of DEFLATE: a window of 32 KiB, another for what was decoded, and tables.
const FLATE_STATE: usize = 80 * 1024;

/// The largest window of the content coding `zstd` (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// How far a call came.
pub(super) struct Step {
    pub taken: usize,
    pub given: usize,
    /// The stream has ended.
    pub ended: bool,
}

pub(super) struct Corrupt;

pub(super) enum Member {
    Gzip(Box<GzipDecoder>),
    Deflate(Box<Deflate>),
    Brotli(Box<Brotli>),
    Zstd(DCtx<'static>),
}

/// The form shows in the first two bytes.
#[derive(Default)]
pub(super) struct Deflate {
    first: Option<u8>,
    form: Option<(Form, Decompress)>,
}

pub(super) struct Brotli {
    state: BrotliState<Counted, Counted, Counted>,
    bytes: Counted,
}

/// Counts what a sender makes the decoder allocate.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Member {
    pub(super) fn new(coding: Coding) -> Option<Self> {
        Some(match coding {
            Coding::Gzip => Self::Gzip(Box::default()),
            Coding::Deflate => Self::Deflate(Box::default()),
            Coding::Brotli => {
                let bytes = Counted::default();
                // Strict: no window over the 16 MiB of RFC 7932.
                let state = BrotliState::new_strict(bytes.clone(), bytes.clone(), bytes.clone());
                Self::Brotli(Box::new(Brotli { state, bytes }))
            }
            Coding::Zstd => {
                let mut context = DCtx::try_create()?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                Self::Zstd(context)
            }
        })
    }

    /// Whether another may follow in one body.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self, Self::Gzip(_) | Self::Zstd(_))
    }

    /// Ready for the next one.
    pub(super) fn again(&mut self) -> Result<(), Corrupt> {
        match self {
            Self::Gzip(gzip) => gzip.reinit().map_err(|_| Corrupt),
            Self::Zstd(context) => context.reset(ResetDirective::SessionOnly).map(drop).map_err(|_| Corrupt),
            Self::Deflate(_) | Self::Brotli(_) => Err(Corrupt),
        }
    }

    /// Bytes that it holds.
    pub(super) fn holds(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Deflate(_) => FLATE_STATE,
            Self::Brotli(brotli) => brotli.bytes.0.load(Ordering::Relaxed) + size_of::<Brotli>(),
            Self::Zstd(context) => context.sizeof(),
        }
    }

    /// The form that the next hop shall get.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Gzip(_) => Form::Gzip,
            Self::Deflate(deflate) => deflate.form.as_ref().map_or(Form::Zlib, |(form, _)| *form),
            Self::Brotli(_) => Form::Brotli,
            Self::Zstd(_) => Form::Zstd,
        }
    }

    /// Decodes from `input` into `output`. Without input, gives what is left of what came before.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
        match self {
            Self::Gzip(gzip) => {
                let mut from = PartialBuffer::new(input);
                let mut to = WriteBuffer::new_initialized(output);
                let ended =
                    if input.is_empty() { gzip.flush(&mut to).map(|_| false) } else { gzip.decode(&mut from, &mut to) };
                let ended = ended.map_err(|_| Corrupt)?;
                Ok(Step { taken: from.written_len(), given: to.written_len(), ended })
            }
            Self::Deflate(deflate) => deflate.step(input, output),
            Self::Brotli(brotli) => brotli.step(input, output),
            Self::Zstd(context) => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(output);
                // Where nothing came and nothing is left, another call counts as standing still.
                let left = context.decompress_stream(&mut to, &mut from).map_err(|_| Corrupt)?;
                Ok(Step { taken: from.pos(), given: to.pos(), ended: left == 0 })
            }
        }
    }
}

impl Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
        if let Some((_, stream)) = &mut self.form {
            return inflate(stream, input, output);
        }
        let (first, rest, taken) = match (self.first, input) {
            (None, [first]) => {
                self.first = Some(*first);
                return Ok(Step { taken: 1, given: 0, ended: false });
            }
            (Some(first), [_, ..]) => (first, input, 0),
            (None, [first, rest @ ..]) if !rest.is_empty() => (*first, rest, 1),
            _ => return Ok(Step { taken: 0, given: 0, ended: false }),
        };
        let second = rest.first().copied().unwrap_or_default();
        // RFC 1950 2.2: method 8, a window of at most 32 KiB, and a check.
        let zlib = first & 0x8f == 0x08 && u16::from_be_bytes([first, second]) % 31 == 0;
        let form = if zlib { Form::Zlib } else { Form::Raw };
        let (_, stream) = self.form.insert((form, Decompress::new(zlib)));
        let begun = inflate(stream, &[first], output)?;
        if begun.taken != 1 || begun.given != 0 || begun.ended {
            return Err(Corrupt);
        }
        let step = inflate(stream, rest, output)?;
        Ok(Step { taken: step.taken + taken, ..step })
    }
}

fn inflate(stream: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
    let (before_in, before_out) = (stream.total_in(), stream.total_out());
    let status = stream.decompress(input, output, FlushDecompress::None).map_err(|_| Corrupt)?;
    let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| Corrupt);
    Ok(Step {
        taken: count(stream.total_in(), before_in)?,
        given: count(stream.total_out(), before_out)?,
        ended: status == Status::StreamEnd,
    })
}

impl Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
        let (mut taken, mut given) = (0, 0);
        let (mut left, mut room) = (input.len(), output.len());
        let state = &mut self.state;
        match BrotliDecompressStream(&mut left, &mut taken, input, &mut room, &mut given, output, &mut 0, state) {
            BrotliResult::ResultFailure => Err(Corrupt),
            result => Ok(Step { taken, given, ended: matches!(result, BrotliResult::ResultSuccess) }),
        }
    }
}

impl<T: Clone + Default> Allocator<T> for Counted {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    fn alloc_cell(&mut self, len: usize) -> Self::AllocatedMemory {
        self.0.fetch_add(len * size_of::<T>(), Ordering::Relaxed);
        StandardAlloc::default().alloc_cell(len)
    }

    fn free_cell(&mut self, data: Self::AllocatedMemory) {
        self.0.fetch_sub(data.slice().len() * size_of::<T>(), Ordering::Relaxed);
    }
}
