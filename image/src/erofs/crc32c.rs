//! CRC-32C (Castagnoli), the checksum of an EROFS superblock: reflected polynomial `0x82f63b78`, without
//! the usual final inversion, as the Linux kernel computes it.

const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0u32;
    while n < 256 {
        let mut crc = n;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
}

/// The checksum of `bytes`, started from all ones.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The check value of CRC-32C in the catalogue of CRC algorithms is given with the final inversion.
    #[test]
    fn the_catalogues_check_value() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }
}
