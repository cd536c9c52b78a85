use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::ProgressEvent;

fn options(source: &Path, work_dir: &Path) -> ConvertOptions {
    ConvertOptions {
        source: Source::parse(&format!("dir:{}", source.display())).unwrap(),
        open: OpenOptions::default(),
        build: BuildOptions::new(work_dir),
        run: RunOverrides::default(),
    }
}

#[tokio::test]
async fn converting_in_the_background_gives_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; 1 << 20]).unwrap();
    let work_dir = tempfile::tempdir().unwrap();
    let here = convert(options(dir.path(), work_dir.path()), &()).unwrap();
    let there = convert_async(options(dir.path(), work_dir.path()), Arc::new(())).await.unwrap();
    assert_eq!(here.digest, there.digest);
    drop((here, there));
    assert_eq!(fs::read_dir(work_dir.path()).unwrap().count(), 0, "packs go with the image");
}

#[test]
fn a_cancelled_conversion_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let work_dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = convert_until(&cancel, options(dir.path(), work_dir.path()), &()).unwrap_err();
    assert!(error.to_string().contains("the conversion was cancelled"), "{error}");
    assert_eq!(fs::read_dir(work_dir.path()).unwrap().count(), 0);
}

/// Tells what happens, and keeps a conversion from going on after its start until it may. The channel
/// closes when the conversion has ended.
struct Watching {
    seen: Sender<&'static str>,
    go_on: Mutex<Receiver<()>>,
}

impl Progress for Watching {
    fn report(&self, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::LayerStarted { .. } => {
                self.seen.send("started").unwrap();
                self.go_on.lock().unwrap().recv().unwrap();
            }
            ProgressEvent::LayerDone => self.seen.send("complete").unwrap(),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dropping_the_future_ends_the_conversion() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let work_dir = tempfile::tempdir().unwrap();
    let ((seen, events), (go, go_on)) = (channel(), channel());
    let progress = Arc::new(Watching { seen, go_on: Mutex::new(go_on) });
    let conversion = tokio::spawn(convert_async(options(dir.path(), work_dir.path()), progress));
    assert_eq!(events.recv(), Ok("started"));
    conversion.abort();
    assert!(conversion.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    assert!(events.recv().is_err(), "it ended before the layer was complete");
    assert_eq!(fs::read_dir(work_dir.path()).unwrap().count(), 0);
}
