//! Compressed streams: gzip and zstd, told apart by their first bytes.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest zstd window to hold in memory: what the `zstd` program itself accepts without being told.
const MAX_ZSTD_WINDOW: u64 = 128 << 20;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// From a stream's first (up to six) bytes; an error names a form that is known but not understood.
    pub(super) fn of(start: &[u8]) -> Result<Self, &'static str> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame: what some writers put in front.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err("xz"),
            _ => Ok(Self::None),
        }
    }
}

/// The plain bytes of `input`, however it is compressed.
pub(super) fn decoder<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(6);
    input.by_ref().take(6).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let input = Cursor::new(start).chain(input);
    match compression {
        Ok(Compression::None) => Ok(Box::new(input)),
        Ok(Compression::Gzip) => Ok(Box::new(MultiGzDecoder::new(input))),
        Ok(Compression::Zstd) => Ok(Box::new(ZstdReader::new(input))),
        Err(name) => Err(io::Error::other(format!("{name} is not supported; use gzip or zstd"))),
    }
}

/// Decodes a sequence of zstd frames (RFC 8878), and verifies their checksums.
struct ZstdReader<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_ZSTD_WINDOW);
        Self { input, decoder, in_frame: false }
    }

    /// Starts the next frame; `false` at the end of the input.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(length.into())?,
                Err(e) => return Err(damaged(e)),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        if io::copy(&mut self.input.by_ref().take(len), &mut io::sink())? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn check_frame(&self) -> io::Result<()> {
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(damaged("the checksum of a zstd frame is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buf);
            }
            if self.decoder.is_finished() {
                self.check_frame()?;
                self.in_frame = false;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.input, one).map_err(damaged)?;
            }
        }
    }
}

fn damaged(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{gzip, zstd};

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        decoder(bytes)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn text() -> Vec<u8> {
        (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn one_and_several_members_or_frames() {
        let (a, b) = (text(), b"more".to_vec());
        let both = [a.clone(), b.clone()].concat();
        assert!(decode(&gzip(&a)).unwrap() == a);
        assert!(decode(&[gzip(&a), gzip(&b)].concat()).unwrap() == both);
        assert!(decode(&zstd(&a)).unwrap() == a);
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &[]].concat();
        let frames = [skippable.clone(), zstd(&a), skippable, zstd(&b)].concat();
        assert!(decode(&frames).unwrap() == both);
        assert_eq!(decode(b"plain").unwrap(), b"plain");
        assert_eq!(decode(b"").unwrap(), b"");
    }

    #[test]
    fn damage_and_truncation_are_errors() {
        for whole in [gzip(&text()), zstd(&text())] {
            for cut in [7, 20, whole.len() / 2, whole.len() - 1] {
                assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
            }
            let mut damaged = whole.clone();
            // In the checksum at the end.
            let at = damaged.len() - 3;
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err());
        }
        assert!(decode(b"BZh91AY").unwrap_err().to_string().contains("bzip2 is not supported"));
    }

    #[test]
    fn a_window_that_fills_the_memory_is_refused() {
        // A frame header that asks for a window of 1 TiB and more.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0];
        assert!(decode(&frame).is_err());
    }
}
