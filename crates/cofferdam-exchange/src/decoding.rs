//! Looking into a body that is compressed (`Content-Encoding`: RFC 9110, section 8.4).
//!
//! What goes out is what came; a decoded copy of it is looked through and thrown away, in bounded memory.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::Refusal;

/// Largest window of zstd, as a power of two: 8 MiB, the most that RFC 9659 allows in a content encoding.
const WINDOW: u32 = 23;
/// Decoded bytes for each one of the body, from which on it serves to keep the gateway busy…
const RATIO: u64 = 200;
/// …beyond so many, which any body may have.
const FREE: u64 = 16 << 20;
/// Most bytes of a body that wait until it is known what they say.
const WAITING: usize = 1 << 20;

/// Takes decoded bytes.
pub trait Look {
    /// Looks at what comes next. Whether the end of it may be the beginning of what must not leave.
    ///
    /// # Errors
    /// Where it must not leave.
    fn look(&mut self, decoded: &[u8]) -> Result<bool, Refusal>;
}

/// A compressed body on its way.
pub struct Decoding<L: Look> {
    decoder: Decoder<L>,
    /// What came and may complete something.
    waiting: Vec<u8>,
}

enum Decoder<L: Look> {
    Gzip(MultiGzDecoder<Sink<L>>),
    /// `deflate`: which of its two forms the first byte tells.
    Unknown(Option<Sink<L>>),
    Zlib(ZlibDecoder<Sink<L>>),
    Deflate(DeflateDecoder<Sink<L>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink<L>>>),
}

/// Where a decoder writes to.
struct Sink<L> {
    look: L,
    taken: u64,
    decoded: u64,
    open: bool,
    refusal: Option<Refusal>,
}

impl<L: Look> Write for Sink<L> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        self.decoded += decoded.len() as u64;
        let looked = match self.decoded > FREE && self.decoded / RATIO > self.taken {
            true => Err(unread("it is decompressed to more than 200 times its size")),
            false => self.look.look(decoded),
        };
        match looked {
            Ok(open) => {
                self.open = open;
                Ok(decoded.len())
            }
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unread(why: &str) -> Refusal {
    Refusal::new("encoding", format!("the request's body cannot be looked through: {why}"))
}

impl<L: Look> Decoding<L> {
    /// For a body with these fields; `None` where it is not encoded, or in a way that is not looked into.
    pub fn of(fields: &HeaderMap, look: L) -> Option<Decoding<L>> {
        let mut encodings = fields.get_all(CONTENT_ENCODING).iter();
        let (Some(encoding), None) = (encodings.next(), encodings.next()) else { return None };
        let encoding = encoding.to_str().ok()?.trim().to_ascii_lowercase();
        let sink = Sink { look, taken: 0, decoded: 0, open: false, refusal: None };
        let decoder = match &*encoding {
            "gzip" | "x-gzip" => Decoder::Gzip(MultiGzDecoder::new(sink)),
            "deflate" => Decoder::Unknown(Some(sink)),
            "zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(sink).ok()?;
                decoder.window_log_max(WINDOW).ok()?;
                Decoder::Zstd(Box::new(decoder))
            }
            _ => return None,
        };
        Some(Decoding { decoder, waiting: Vec::new() })
    }

    /// The next piece of the body; what of it may pass.
    ///
    /// # Errors
    /// Where it must not go on.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        if let Decoder::Unknown(sink) = &mut self.decoder
            && let (Some(first), Some(sink)) = (piece.first(), sink.take())
        {
            // RFC 1950, section 2.2: method 8; a raw block (RFC 1951) that begins so is of a reserved or stored kind.
            self.decoder = match first & 0x0f == 8 {
                true => Decoder::Zlib(ZlibDecoder::new(sink)),
                false => Decoder::Deflate(DeflateDecoder::new(sink)),
            };
        }
        if let Some(sink) = self.decoder.sink() {
            sink.taken += piece.len() as u64;
        }
        self.decoder.write(&piece)?;
        let open = self.decoder.sink().is_some_and(|sink| sink.open);
        if !open && self.waiting.is_empty() {
            return Ok(piece); // nothing held, nothing copied
        }
        self.waiting.extend_from_slice(&piece);
        match open {
            false => Ok(std::mem::take(&mut self.waiting).into()),
            true if self.waiting.len() > WAITING => Err(unread("too much of it has to wait")),
            true => Ok(Bytes::new()),
        }
    }

    /// The body is over: what waited.
    pub fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.waiting).into()
    }
}

impl<L: Look> Decoder<L> {
    fn sink(&mut self) -> Option<&mut Sink<L>> {
        Some(match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Unknown(sink) => return sink.as_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        // Flushed, because the decoders keep what they have decoded until there is more.
        let all = |writer: &mut dyn Write| writer.write_all(piece).and_then(|()| writer.flush());
        let written = match self {
            Decoder::Gzip(decoder) => all(decoder),
            Decoder::Unknown(_) => Ok(()),
            Decoder::Zlib(decoder) => all(decoder),
            Decoder::Deflate(decoder) => all(decoder),
            Decoder::Zstd(decoder) => all(decoder),
        };
        match (written, self.sink().and_then(|sink| sink.refusal.take())) {
            (_, Some(refusal)) => Err(refusal),
            (Ok(()), None) => Ok(()),
            (Err(_), None) => Err(unread("it is not what its Content-Encoding says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    /// Refuses the word SECRET.
    #[derive(Default)]
    struct Word(Vec<u8>);

    impl Look for Word {
        fn look(&mut self, decoded: &[u8]) -> Result<bool, Refusal> {
            self.0.extend_from_slice(decoded);
            if memchr::memmem::find(&self.0, b"SECRET").is_some() {
                return Err(Refusal::new("found", "found".to_owned()));
            }
            let keep = self.0.len().min(5);
            self.0.drain(..self.0.len() - keep);
            Ok((1..6).any(|n| self.0.ends_with(&b"SECRET"[..n])))
        }
    }

    fn encoded(how: &str, text: &[u8]) -> Vec<u8> {
        fn all(mut writer: impl Write, text: &[u8]) -> io::Result<()> {
            writer.write_all(text)
        }
        let mut out = Vec::new();
        match how {
            "gzip" => all(GzEncoder::new(&mut out, Compression::fast()), text).unwrap(),
            "deflate" => all(ZlibEncoder::new(&mut out, Compression::fast()), text).unwrap(),
            "raw deflate" => all(DeflateEncoder::new(&mut out, Compression::fast()), text).unwrap(),
            _ => out = zstd::stream::encode_all(text, 3).unwrap(),
        }
        out
    }

    fn decoding(how: &str) -> Decoding<Word> {
        let how = how.trim_start_matches("raw ").parse().unwrap();
        Decoding::of(&HeaderMap::from_iter([(CONTENT_ENCODING, how)]), Word::default()).unwrap()
    }

    fn through(decoding: &mut Decoding<Word>, body: &[u8], size: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for piece in body.chunks(size) {
            out.extend_from_slice(&decoding.push(Bytes::copy_from_slice(piece)).map_err(|refusal| refusal.reason)?);
        }
        out.extend_from_slice(&decoding.end());
        Ok(out)
    }

    #[test]
    fn what_is_compressed_is_looked_through_however_it_is_cut_and_passes_unchanged() {
        for how in ["gzip", "deflate", "raw deflate", "zstd"] {
            let (good, bad) = (encoded(how, b"some SECRE and S and more"), encoded(how, b"text, and the SECRET in it"));
            for size in 1..good.len() {
                assert_eq!(through(&mut decoding(how), &good, size).as_ref(), Ok(&good), "{how} by {size}");
                assert_eq!(through(&mut decoding(how), &bad, size), Err("found".into()), "{how} by {size}");
            }
        }
        let second = [encoded("gzip", b"one"), encoded("gzip", b"SECRET")].concat();
        assert_eq!(through(&mut decoding("gzip"), &second, 7), Err("found".into()), "a second member");
    }

    #[test]
    fn what_does_not_decode_and_what_would_keep_the_gateway_busy_is_refused() {
        for how in ["gzip", "deflate", "zstd"] {
            assert_eq!(
                through(&mut decoding(how), b"no such thing, whatever it says", 8),
                Err("encoding".into()),
                "{how}"
            );
            let bomb = encoded(how, &vec![0; 64 << 20]);
            assert_eq!(through(&mut decoding(how), &bomb, 4096), Err("encoding".into()), "{how}");
            assert!(through(&mut decoding(how), &encoded(how, &vec![0; 8 << 20]), 4096).is_ok(), "{how}");
        }
    }

    #[test]
    fn other_encodings_are_not_looked_into() {
        for how in ["identity", "br", "gzip, gzip", "\u{e9}"] {
            let how = http::HeaderValue::from_str(how).unwrap();
            assert!(Decoding::of(&HeaderMap::from_iter([(CONTENT_ENCODING, how)]), Word::default()).is_none());
        }
        assert!(Decoding::of(&HeaderMap::new(), Word::default()).is_none());
    }
}
