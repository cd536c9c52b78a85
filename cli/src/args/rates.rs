//! Rates of links as people write them.

use ft_testbed::Rate;

/// `100mbit`, `1gbit/s` as bytes per second; `none` is no limit, which is 0.
pub(crate) fn parse_limit(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    let rate: Rate = text.parse().map_err(|error| format!("{error}; or none"))?;
    // Less than a byte per second would read as no limit.
    Ok(rate.bytes().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_parse() {
        assert_eq!(parse_limit("100mbit"), Ok(12_500_000));
        assert_eq!(parse_limit("1gbit/s"), Ok(125_000_000));
        assert_eq!(parse_limit("none"), Ok(0));
        assert_eq!(parse_limit("7bit"), Ok(1));
        assert!(parse_limit("0mbit").is_err() && parse_limit("100").is_err() && parse_limit("fast").is_err());
    }
}
