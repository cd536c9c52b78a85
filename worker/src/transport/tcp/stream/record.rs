//! TLS 1.3 records (RFC 8446, section 5): sealing them where they are written, and opening them where they were read.

use ring::aead;
use rustls::crypto::cipher::{InboundOpaqueMessage, MessageDecrypter, Nonce, make_tls13_aad};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, Tls13CipherSuite};

/// The type of a sealed record, the version that all records name, and a length.
pub(super) const HEADER: usize = 5;
/// The most plaintext in a record.
pub(super) const FRAGMENT: usize = 1 << 14;
/// The most that a peer may seal into a record: a type, padding and a tag belong to it.
const MAX_SEALED: usize = FRAGMENT + 256;
/// The longest record that a peer may send.
pub(super) const MAX_RECORD: usize = HEADER + MAX_SEALED;
/// The longest record that this side sends: all algorithms of TLS 1.3 have tags of 16 bytes.
pub(super) const MAX_OWN_RECORD: usize = HEADER + FRAGMENT + 1 + 16;

/// Seals this side's records with one key after the other.
pub(super) struct Sealer {
    key: aead::LessSafeKey,
    iv: rustls::crypto::cipher::Iv,
    sequence: u64,
    /// Records that one key may seal.
    limit: u64,
}

impl Sealer {
    /// Goes on at record `sequence` of a key that the handshake or a key update has made.
    pub(super) fn new(
        suite: &Tls13CipherSuite,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&aead::CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("an unknown cipher suite".into())),
        };
        let key = aead::UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        let limit = suite.common.confidentiality_limit;
        Ok(Self { key: aead::LessSafeKey::new(key), iv, sequence, limit })
    }

    /// Whether the key has sealed as much as it should.
    pub(super) fn is_worn(&self) -> bool {
        self.sequence >= self.limit
    }

    /// Wears the key down.
    #[cfg(test)]
    pub(super) fn wear(&mut self) {
        self.limit = self.sequence;
    }

    /// Records that the key has sealed.
    #[cfg(test)]
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Begins a record at the end of `out`, whose plaintext is then to be appended.
    pub(super) fn begin(out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        start
    }

    /// Plaintext that the record which began at `start` still has room for.
    pub(super) fn room(out: &[u8], start: usize) -> usize {
        (start + HEADER + FRAGMENT).saturating_sub(out.len())
    }

    /// Ends the record that began at `start` and goes to the end of `out`.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, start: usize, typ: ContentType) -> Result<(), Error> {
        out.push(typ.into());
        // For a record that has had room, this is what its header says.
        let header = make_tls13_aad(out.len() - start - HEADER + self.key.algorithm().tag_len());
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, self.sequence).0);
        self.sequence += 1;
        let (head, body) = out[start..].split_at_mut(HEADER);
        head.copy_from_slice(&header);
        let sealed = self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(header), body);
        let tag = sealed.map_err(|_| Error::EncryptError)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

/// Opens the peer's records with one key after the other.
pub(super) struct Opener {
    key: Box<dyn MessageDecrypter>,
    sequence: u64,
}

/// A record that was opened: its plaintext lies behind the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) typ: ContentType,
    /// Bytes of plaintext.
    pub(super) plain: usize,
    /// Bytes of the whole record.
    pub(super) whole: usize,
}

impl Opener {
    /// Goes on at record `sequence` of a key that the handshake or a key update has made.
    pub(super) fn new(
        suite: &Tls13CipherSuite,
        sequence: u64,
        secrets: ConnectionTrafficSecrets,
    ) -> Result<Self, Error> {
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => return Err(Error::General("an unknown cipher suite".into())),
        };
        Ok(Self { key: suite.aead_alg.decrypter(key, iv), sequence })
    }

    /// Opens the record at the start of `bytes` where it lies; `None` while it is not whole.
    pub(super) fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Error> {
        let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER>() else { return Ok(None) };
        let [typ, major, minor, high, low] = *header;
        if ContentType::from(typ) != ContentType::ApplicationData {
            return Err(Error::InappropriateMessage {
                expect_types: vec![ContentType::ApplicationData],
                got_type: typ.into(),
            });
        }
        let sealed = usize::from(u16::from_be_bytes([high, low]));
        if sealed > MAX_SEALED {
            return Err(Error::PeerSentOversizedRecord);
        }
        let Some(payload) = rest.get_mut(..sealed) else { return Ok(None) };
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        let message = InboundOpaqueMessage::new(ContentType::ApplicationData, version, payload);
        let plain = self.key.decrypt(message, self.sequence)?;
        self.sequence += 1;
        Ok(Some(Opened { typ: plain.typ, plain: plain.payload.len(), whole: HEADER + sealed }))
    }
}
