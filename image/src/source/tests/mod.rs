mod dir;
mod images;
mod layout;
mod packages;

use super::testing::Collect;
use super::{OpenOptions, OpenedSource, Source};
use crate::Error;

/// Opens a source for linux/amd64, whatever this machine is.
fn open(text: &str) -> Result<OpenedSource, Error> {
    let options = OpenOptions { platform: "linux/amd64".parse().unwrap(), ..OpenOptions::default() };
    Source::parse(text)?.open(&options)
}

/// Every entry of every layer.
fn read(text: &str) -> Result<Collect, Error> {
    read_with(text, &OpenOptions { platform: "linux/amd64".parse().unwrap(), ..OpenOptions::default() })
}

fn read_with(text: &str, options: &OpenOptions) -> Result<Collect, Error> {
    let source = Source::parse(text)?.open(options)?;
    let mut collect = Collect::default();
    for n in 0..source.layers().len() {
        source.read_layer(n, &mut collect, &())?;
    }
    Ok(collect)
}

/// The text of the error that reading the source ends with.
fn error(text: &str) -> String {
    match read(text) {
        Ok(collect) => panic!("{text} was read: {:?}", collect.paths()),
        Err(e) => e.to_string(),
    }
}
