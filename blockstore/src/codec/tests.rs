use ft_core::{BLOCK_SIZE, Codec};
use proptest::prelude::*;

use super::*;

#[test]
fn text_becomes_lz4_and_noise_stays_raw() {
    let text = b"function tree ".repeat(1000);
    let (codec, stored) = compress_block(&text);
    assert_eq!(codec, Codec::Lz4);
    assert!(stored.len() < text.len() / 10, "{} bytes", stored.len());
    assert_eq!(decompress_block(codec, &stored, 14_000), Ok(text));

    let noise: Vec<u8> =
        (0..1024u32).flat_map(|n| *ft_core::Digest::of(&n.to_le_bytes()).as_bytes()).collect();
    let (codec, stored) = compress_block(&noise);
    assert_eq!((codec, &stored[..]), (Codec::Raw, &noise[..]));
}

#[test]
fn a_wrong_length_is_an_error_in_both_codecs() {
    let raw = vec![7; 1000];
    let (codec, stored) = compress_block(&raw);
    assert_eq!(codec, Codec::Lz4);
    assert_eq!(
        decompress_block(codec, &stored, 1001),
        Err(CodecError::Length { expected: 1001, found: 1000 })
    );
    assert_eq!(decompress_block(codec, &stored, 999), Err(CodecError::Lz4 { expected: 999 }));
    assert_eq!(
        decompress_block(Codec::Raw, &raw, 999),
        Err(CodecError::Length { expected: 999, found: 1000 })
    );
}

#[test]
fn no_more_than_a_block_is_ever_decoded() {
    for raw_len in [0, BLOCK_SIZE + 1, u32::MAX] {
        assert_eq!(decompress_block(Codec::Lz4, &[0], raw_len), Err(CodecError::RawLength { raw_len }));
    }
}

proptest! {
    #[test]
    fn decodes_what_it_encodes(raw in prop::collection::vec(0u8..4, 1..5000)) {
        let (codec, stored) = compress_block(&raw);
        prop_assert!(stored.len() <= raw.len());
        prop_assert_eq!(decompress_block(codec, &stored, u32::try_from(raw.len()).unwrap()), Ok(raw));
    }

    #[test]
    fn garbage_never_panics_and_never_gives_another_length(
        stored in prop::collection::vec(any::<u8>(), 0..300),
        raw_len in 1u32..2000,
    ) {
        if let Ok(raw) = decompress_block(Codec::Lz4, &stored, raw_len) {
            prop_assert_eq!(raw.len(), raw_len as usize);
        }
    }
}
