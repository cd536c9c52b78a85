//! A small tar writer, so that tests can make exactly the archive they mean, also wrong ones.

/// An archive under construction.
#[derive(Default)]
pub(crate) struct TarBuilder(Vec<u8>);

/// A header's fields; numbers as they are, text cut to the field.
#[derive(Clone)]
pub(crate) struct Fields {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
}

impl Fields {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_700_000_000,
            device: (0, 0),
        }
    }

    pub(crate) fn link(mut self, target: impl AsRef<[u8]>) -> Self {
        self.link = target.as_ref().to_vec();
        self
    }

    /// The header block, in ustar form, its checksum right.
    pub(crate) fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, len: usize, bytes: &[u8]| {
            let len = len.min(bytes.len());
            block[at..at + len].copy_from_slice(&bytes[..len]);
        };
        put(0, 100, &self.name);
        put(100, 8, format!("{:07o}\0", self.mode).as_bytes());
        put(108, 8, &number(self.uid.into(), 8));
        put(116, 8, &number(self.gid.into(), 8));
        put(124, 12, &number(self.size, 12));
        put(136, 12, &number(self.mtime, 12));
        put(156, 1, &[self.kind]);
        put(157, 100, &self.link);
        put(257, 8, b"ustar\x0000");
        put(329, 8, &number(self.device.0.into(), 8));
        put(337, 8, &number(self.device.1.into(), 8));
        seal(&mut block);
        block
    }
}

/// A number in octal where it fits, else in base 256.
fn number(value: u64, width: usize) -> Vec<u8> {
    if value < 1 << (3 * (width - 1)) {
        return format!("{value:0digits$o}\0", digits = width - 1).into_bytes();
    }
    let mut field = vec![0; width - 8];
    field.extend_from_slice(&value.to_be_bytes());
    field[0] |= 0x80;
    field
}

/// Sets a header's checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One PAX record, whose length counts itself.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut len = body;
    while len != body + len.to_string().len() {
        len = body + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

impl TarBuilder {
    /// Adds a member as its fields say, with `data` behind it, padded; the size is the data's.
    pub(crate) fn member(self, fields: &Fields, data: &[u8]) -> Self {
        let header = Fields { size: data.len() as u64, ..fields.clone() }.header();
        self.raw(&header).raw(data).pad()
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        self.member(&Fields::new(b'0', name), data)
    }

    pub(crate) fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.member(&Fields { mode: 0o755, ..Fields::new(b'5', name) }, b"")
    }

    /// Adds a PAX header for the next member.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extension(b'x', records)
    }

    /// Adds a PAX header of the given kind.
    pub(crate) fn extension(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect();
        self.member(&Fields::new(kind, "PaxHeader"), &data)
    }

    /// Adds bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The archive, with its end marker.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }

    /// The archive without one.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }
}
