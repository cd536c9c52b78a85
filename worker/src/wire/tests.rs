use ft_core::relay::{Ask, BlockSet, Class, StripeSet, Subscription};
use ft_core::{BlockIndex, Digest, Stripe};
use proptest::prelude::*;

use super::*;

/// A message as a peer would read it: the envelope first, then just as many bytes as it says.
fn split(bytes: &[u8]) -> (Envelope, &[u8]) {
    let (head, payload) = bytes.split_first_chunk().expect("an envelope");
    let envelope = Envelope::decode(*head).expect("a valid envelope");
    assert_eq!(payload.len(), envelope.len as usize);
    (envelope, payload)
}

fn block() -> impl Strategy<Value = BlockIndex> {
    (0..MAX_BLOCKS_U32).prop_map(BlockIndex)
}

fn subscription() -> impl Strategy<Value = Subscription> {
    (1..=2u8, 0..4u8, 0..5000u32, any::<u64>()).prop_map(|(of, stripes, blocks, seed)| {
        let mut have = BlockSet::new(blocks);
        (0..blocks).filter(|nth| seed.rotate_left(nth % 64) & 1 == 1).for_each(|nth| {
            have.insert(BlockIndex(nth));
        });
        Subscription { stripes: StripeSet(stripes & ((1 << of) - 1)), of, have }
    })
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![Class::Demand, Class::Metadata, Class::Profile, Class::Rest])
}

fn ask() -> impl Strategy<Value = Ask> {
    (class(), any::<bool>(), any::<bool>()).prop_map(|(class, may_fetch, again)| Ask {
        class,
        may_fetch,
        again,
    })
}

fn to_parent() -> impl Strategy<Value = ToParent> {
    let hello = (any::<u32>(), any::<[u8; 32]>())
        .prop_map(|(session, image)| Hello { session, image: Digest::from_bytes(image) });
    prop_oneof![
        hello.prop_map(ToParent::Hello),
        subscription().prop_map(ToParent::Subscribe),
        Just(ToParent::Unsubscribe),
        (block(), ask()).prop_map(|(block, ask)| ToParent::Ask { block, ask }),
        block().prop_map(|block| ToParent::Have { block }),
    ]
}

fn to_child() -> impl Strategy<Value = ToChild> {
    prop_oneof![
        Just(ToChild::Welcome),
        Just(ToChild::Decline(Decline::NotFollowed)),
        block().prop_map(|block| ToChild::Refuse { block }),
    ]
}

proptest! {
    #[test]
    fn messages_to_a_parent_round_trip(message in to_parent()) {
        let bytes = message.encode();
        let (envelope, payload) = split(&bytes);
        prop_assert_eq!(ToParent::decode(envelope.kind, payload), Ok(message));
        prop_assert!(ToChild::decode(envelope.kind, payload).is_err());
    }

    #[test]
    fn messages_to_a_child_round_trip(message in to_child()) {
        let bytes = message.encode();
        let (envelope, payload) = split(&bytes);
        prop_assert_eq!(ToChild::decode(envelope.kind, payload), Ok(message));
        prop_assert!(ToParent::decode(envelope.kind, payload).is_err());
    }

    #[test]
    fn a_message_is_neither_cut_nor_longer(message in to_parent(), extra in 1..4usize) {
        let bytes = message.encode();
        let (envelope, payload) = split(&bytes);
        if let Some(shorter) = payload.len().checked_sub(extra) {
            prop_assert!(ToParent::decode(envelope.kind, &payload[..shorter]).is_err());
        }
        let mut longer = payload.to_vec();
        longer.resize(payload.len() + extra, 0);
        prop_assert!(ToParent::decode(envelope.kind, &longer).is_err());
    }

    /// Whatever arrives: no panic, and what is accepted is what would have been sent.
    #[test]
    fn arbitrary_payloads_are_refused_or_canonical(kind in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        for kind in [kind, kind % 6, 0x80 | (kind % 4)] {
            if let Ok(message) = ToParent::decode(kind, &payload) {
                prop_assert_eq!(&message.encode()[Envelope::BYTES..], &payload[..]);
            }
            if let Ok(message) = ToChild::decode(kind, &payload) {
                prop_assert_eq!(&message.encode()[Envelope::BYTES..], &payload[..]);
            }
        }
    }

    #[test]
    fn arbitrary_headers_are_refused_or_canonical(
        envelope in any::<[u8; Envelope::BYTES]>(),
        stream in any::<[u8; StreamHeader::BYTES]>(),
        frame in any::<[u8; FrameHeader::BYTES]>(),
    ) {
        if let Ok(envelope) = Envelope::decode(envelope) {
            prop_assert!(envelope.len <= MAX_PAYLOAD);
        }
        if let Ok(header) = StreamHeader::decode(stream) {
            prop_assert_eq!(header.encode(), stream);
        }
        if let Ok(header) = FrameHeader::decode(frame) {
            prop_assert_eq!(header.encode(), frame);
            prop_assert!(header.stored_len <= MAX_STORED_LEN);
        }
    }

    #[test]
    fn frame_headers_round_trip(block in block(), class in class(), stored_len in 1..=MAX_STORED_LEN) {
        let header = FrameHeader { block, class, stored_len };
        prop_assert_eq!(FrameHeader::decode(header.encode()), Ok(header));
    }

    #[test]
    fn stream_headers_round_trip(session in any::<u32>(), lane in 0..3usize) {
        let header = StreamHeader { session, lane: Lane::ALL[lane] };
        prop_assert_eq!(StreamHeader::decode(header.encode()), Ok(header));
    }
}

fn mux_header() -> impl Strategy<Value = MuxHeader> {
    let lane = (0..4usize).prop_map(|nth| match nth {
        3 => MuxLane::Control,
        nth => MuxLane::Blocks(Lane::ALL[nth]),
    });
    prop_oneof![
        (any::<u32>(), lane.clone(), 1..=MAX_MUX_DATA).prop_map(|(session, lane, len)| MuxHeader::Data {
            session,
            lane,
            len
        }),
        (any::<u32>(), lane).prop_map(|(session, lane)| MuxHeader::Credit { session, lane }),
        any::<u32>().prop_map(|session| MuxHeader::End { session }),
        Just(MuxHeader::Ping),
        (4..=260u16).prop_map(|len| MuxHeader::Close { len }),
    ]
}

proptest! {
    #[test]
    fn mux_headers_round_trip(header in mux_header()) {
        prop_assert_eq!(MuxHeader::decode(header.encode()), Ok(header));
    }

    #[test]
    fn arbitrary_mux_headers_are_refused_or_canonical(kind in 0x3f..0x46u8, rest in any::<[u8; 7]>()) {
        let [lane, len0, len1, session @ ..] = rest;
        for lane in [lane, lane & 1, 0xfe | lane] {
            let [a, b, c, d] = session;
            for bytes in [[kind, lane, len0, len1, a, b, c, d], [kind, lane, len0 % 8, 0, a, b, c, d]] {
                if let Ok(header) = MuxHeader::decode(bytes) {
                    prop_assert_eq!(header.encode(), bytes);
                }
            }
        }
    }

    /// A byte changed in what is right is refused, or means something else that is right.
    #[test]
    fn mutated_messages_are_refused_or_canonical(message in to_parent(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let (head, payload) = bytes.split_first_chunk().unwrap();
        if let Ok(envelope) = Envelope::decode(*head)
            && envelope.len as usize == payload.len()
            && let Ok(message) = ToParent::decode(envelope.kind, payload)
        {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

#[test]
fn limits_are_exact() {
    let frame = |stored_len| FrameHeader { block: BlockIndex(0), class: Class::Rest, stored_len }.encode();
    assert!(FrameHeader::decode(frame(MAX_STORED_LEN)).is_ok());
    for len in [0, MAX_STORED_LEN + 1] {
        assert_eq!(FrameHeader::decode(frame(len)), Err(WireError::FrameLength { len }));
    }
    let have = |block| ToParent::Have { block: BlockIndex(block) }.encode();
    assert!(ToParent::decode(5, split(&have(MAX_BLOCKS_U32 - 1)).1).is_ok());
    let beyond = ToParent::decode(5, split(&have(MAX_BLOCKS_U32)).1);
    assert_eq!(beyond, Err(WireError::Block { block: MAX_BLOCKS_U32 }));
    let all = Subscription { stripes: StripeSet(3), of: 2, have: BlockSet::new(MAX_BLOCKS_U32) };
    let bytes = ToParent::Subscribe(all).encode();
    assert_eq!(split(&bytes).0.len, MAX_PAYLOAD);
}

#[test]
fn a_later_version_is_named() {
    let mut bytes = ToParent::Hello(Hello { session: 7, image: Digest::of(b"image") }).encode();
    bytes[Envelope::BYTES + 4] = 2;
    assert_eq!(ToParent::decode(1, split(&bytes).1), Err(WireError::Version { found: 2 }));
    bytes[Envelope::BYTES] = b'X';
    assert_eq!(ToParent::decode(1, split(&bytes).1), Err(WireError::Magic));
}

/// The bytes in `docs/formats.md`, spelled out: a change here is a new version of the protocol.
#[test]
fn golden_bytes() {
    let header = StreamHeader { session: 0x0403_0201, lane: Lane::Push(Stripe(1)) };
    assert_eq!(header.encode(), [0x20, 1, 1, 2, 3, 4]);
    let lane = MuxLane::Blocks(Lane::Push(Stripe(1)));
    let data = MuxHeader::Data { session: 0x0403_0201, lane, len: MAX_MUX_DATA };
    assert_eq!(data.encode(), [0x40, 1, 0xf8, 0xff, 1, 2, 3, 4]);
    let credit = MuxHeader::Credit { session: 1, lane: MuxLane::Control };
    assert_eq!(credit.encode(), [0x41, 0xfe, 4, 0, 1, 0, 0, 0]);
    assert_eq!(MuxHeader::End { session: 1 }.encode(), [0x42, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(MuxHeader::Ping.encode(), [0x43, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(MuxHeader::Close { len: 4 }.encode(), [0x44, 0, 4, 0, 0, 0, 0, 0]);
    let demand = StreamHeader { session: 1, lane: Lane::Demand };
    assert_eq!(demand.encode(), [0x20, 0xff, 1, 0, 0, 0]);
    let frame = FrameHeader { block: BlockIndex(5), class: Class::Metadata, stored_len: 0x0102 };
    assert_eq!(frame.encode(), [5, 0, 0, 0, 1, 2, 1, 0, 0]);
    let ask = |class, may_fetch, again| ToParent::Ask {
        block: BlockIndex(9),
        ask: Ask { class, may_fetch, again },
    };
    assert_eq!(ask(Class::Demand, true, false).encode(), [4, 5, 0, 0, 0, 9, 0, 0, 0, 0b0100]);
    assert_eq!(ask(Class::Rest, false, true).encode(), [4, 5, 0, 0, 0, 9, 0, 0, 0, 0b1011]);
    assert_eq!(ToParent::Have { block: BlockIndex(4) }.encode(), [5, 4, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(ToChild::Welcome.encode(), [0x81, 2, 0, 0, 0, 1, 0]);
    assert_eq!(ToChild::Decline(Decline::NotFollowed).encode(), [0x82, 1, 0, 0, 0, 1]);
    assert_eq!(ToChild::Refuse { block: BlockIndex(3) }.encode(), [0x83, 4, 0, 0, 0, 3, 0, 0, 0]);
    let mut have = BlockSet::new(9);
    have.insert(BlockIndex(8));
    let subscribe = ToParent::Subscribe(Subscription { stripes: StripeSet(2), of: 2, have });
    assert_eq!(subscribe.encode(), [2, 10, 0, 0, 0, 2, 2, 0, 0, 9, 0, 0, 0, 0, 1]);
    let hello = ToParent::Hello(Hello { session: 1, image: Digest::from_bytes([7; 32]) }).encode();
    assert_eq!(hello[..15], [1, 42, 0, 0, 0, b'F', b'T', b'P', b'R', 1, 0, 1, 0, 0, 0]);
    assert_eq!(hello[15..], [7; 32]);
}
