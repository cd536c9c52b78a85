//! Our types as the wire format has them.

use ft_core::Epoch;
use ft_core::tree::Shape;
use ft_proto::v1;

use crate::state::record::Distribution;

pub(crate) fn epoch(epoch: Epoch) -> v1::Epoch {
    v1::Epoch { term: epoch.term, counter: epoch.counter }
}

pub(crate) fn parse_epoch(epoch: v1::Epoch) -> Epoch {
    Epoch { term: epoch.term, counter: epoch.counter }
}

pub(crate) fn shape(shape: Shape) -> v1::TreeShape {
    match shape {
        Shape::Avl => v1::TreeShape::Avl,
        Shape::Paired => v1::TreeShape::Paired,
        Shape::Chain => v1::TreeShape::Chain,
    }
}

/// What a request asks for, with the defaults filled in; none if it names a mode or shape that this version
/// does not know.
pub(crate) fn distribution(mode: i32, shape: i32) -> Option<Distribution> {
    let mode = match v1::Mode::try_from(mode).ok()? {
        v1::Mode::Unspecified | v1::Mode::Lazy => v1::Mode::Lazy,
        v1::Mode::Full => v1::Mode::Full,
    };
    let shape = match v1::TreeShape::try_from(shape).ok()? {
        v1::TreeShape::Unspecified | v1::TreeShape::Paired => v1::TreeShape::Paired,
        v1::TreeShape::Avl => v1::TreeShape::Avl,
        v1::TreeShape::Chain => v1::TreeShape::Chain,
    };
    Some(Distribution { mode: mode.into(), shape: shape.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_comes_back_from_the_wire() {
        for wanted in Shape::ALL {
            let distribution = distribution(0, shape(wanted).into()).unwrap();
            assert_eq!(crate::trees::shape(distribution), wanted);
        }
    }
}
