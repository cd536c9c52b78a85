//! `ft image`: look into a function image.

use std::path::Path;
use std::sync::Arc;

use ft_blockstore::codec::decompress_block;
use ft_blockstore::{DirOrigin, ImageObjects, Origin, RefName, fetch_blocks, read_object};
use ft_core::manifest::{Layout, MAX_MANIFEST_BYTES, Manifest, SegmentKind};
use ft_core::{BlockId, BlockIndex, Digest};
use ft_image::materialize::MaterializeOptions;
use ft_image::verify::verify;
use ft_proto::v1;
use futures_util::StreamExt as _;

use crate::args::{Global, ImageArgs, ImageCommand};
use crate::client::Client;
use crate::convert::{convert, work_dir};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};
use crate::progress::Bars;
use crate::{materializer, origin};

pub(crate) async fn run(global: &Global, command: &ImageCommand) -> Result<(), Failure> {
    match command {
        ImageCommand::Inspect(args) => inspect(global, &Image::find(global, args).await?),
        ImageCommand::Verify(args) => check(global, &Image::find(global, args).await?).await,
        ImageCommand::Materialize { image, dest, rootless } => {
            let work = work_dir(&image.convert);
            write(global, &Image::find(global, image).await?, &work, dest, *rootless).await
        }
    }
}

/// An image that can be read from somewhere.
struct Image {
    digest: Digest,
    manifest: Manifest,
    objects: ImageObjects,
    origin: Arc<dyn Origin>,
    /// Holds the origin of an image that was converted on the spot.
    _dir: Option<tempfile::TempDir>,
}

impl Image {
    /// A function's image, or that of a source.
    async fn find(global: &Global, args: &ImageArgs) -> Result<Self, Failure> {
        if args.image.contains(':') {
            Self::convert(global, args).await
        } else {
            Self::seeded(global, args).await
        }
    }

    async fn convert(global: &Global, args: &ImageArgs) -> Result<Self, Failure> {
        let converted = convert(global, &args.image, &args.convert, &[]).await?;
        let dir = tempfile::Builder::new().prefix("ft-image-").tempdir_in(work_dir(&args.convert))?;
        let origin = DirOrigin::open(dir.path()).map_err(anyhow::Error::from)?;
        let name: RefName = "image".parse().map_err(anyhow::Error::from)?;
        ft_image::publish(&converted, &origin, &name, &()).await.map_err(anyhow::Error::from)?;
        let objects = ImageObjects::new(&converted.manifest, &converted.manifest_bytes);
        let (digest, manifest) = (converted.digest, converted.manifest);
        Ok(Self { digest, manifest, objects, origin: Arc::new(origin), _dir: Some(dir) })
    }

    async fn seeded(global: &Global, args: &ImageArgs) -> Result<Self, Failure> {
        let client = Client::connect(global).await?;
        let request = v1::GetFunctionRequest { function: args.image.clone(), tenant: args.tenant.clone() };
        let function = client.functions().get_function(request).await?.into_inner();
        let digest: Digest = function.image.parse().map_err(anyhow::Error::from)?;
        let origin = origin::open(&function.origin, client.credential(), &args.convert)?;
        let bytes = read_object(origin.as_ref(), &digest, MAX_MANIFEST_BYTES as u64)
            .await
            .map_err(|error| Failure::new(Kind::Integrity, error))?;
        let manifest = Manifest::decode(&bytes).map_err(|error| Failure::new(Kind::Integrity, error))?;
        let objects = ImageObjects::new(&manifest, &bytes);
        Ok(Self { digest, manifest, objects, origin, _dir: None })
    }
}

fn inspect(global: &Global, image: &Image) -> Result<(), Failure> {
    let manifest = &image.manifest;
    let config: serde_json::Value = serde_json::from_slice(&manifest.config).map_err(anyhow::Error::from)?;
    let kind = |kind| if kind == SegmentKind::Metadata { "metadata" } else { "data" };
    if global.output == Format::Json {
        let segments = manifest.segments.iter().map(|segment| {
            serde_json::json!({
                "kind": kind(segment.kind),
                "image_bytes": segment.raw_len,
                "stored_bytes": segment.pack_len(),
                "pack": segment.pack.to_string(),
                "blocks": segment.blocks.len(),
            })
        });
        return output::json(&serde_json::json!({
            "image": image.digest.to_string(),
            "image_bytes": manifest.image_bytes(),
            "stored_bytes": manifest.stored_bytes(),
            "blocks": Layout::new(manifest).len(),
            "segments": segments.collect::<Vec<_>>(),
            "config": config,
        }));
    }
    output::line(&format!("image   {}", image.digest))?;
    let (all, stored) = (output::bytes(manifest.image_bytes()), output::bytes(manifest.stored_bytes()));
    output::line(&format!("size    {all}, {stored} stored, {} blocks", Layout::new(manifest).len()))?;
    output::line(&format!("config  {config}\n"))?;
    let rows = manifest.segments.iter().map(|segment| {
        vec![
            kind(segment.kind).to_owned(),
            output::bytes(segment.raw_len),
            output::bytes(segment.pack_len()),
            segment.blocks.len().to_string(),
            segment.pack.to_string(),
        ]
    });
    output::table(&["segment", "image", "stored", "blocks", "pack"], rows)
}

async fn check(global: &Global, image: &Image) -> Result<(), Failure> {
    let bars = Bars::new(global);
    bars.start("verifying".to_owned(), Some(image.manifest.stored_bytes()));
    let verified = verify(image.origin.as_ref(), &image.objects, &bars).await;
    bars.finish();
    let verified = verified.map_err(|error| {
        Failure::new(Kind::Integrity, error).context(format!(
            "{} in {}",
            image.digest,
            image.origin.describe()
        ))
    })?;
    match global.output {
        Format::Json => output::json(&serde_json::json!({
            "image": image.digest.to_string(),
            "blocks": verified.blocks,
            "stored_bytes": verified.stored_bytes,
            "image_bytes": verified.image_bytes,
            "names": verified.names,
        })),
        Format::Text => output::line(&format!(
            "{}: {} blocks, {} names, all right",
            image.digest, verified.blocks, verified.names
        )),
    }
}

/// Decompresses the image into two files, and writes its tree from them.
async fn write(
    global: &Global,
    image: &Image,
    work: &Path,
    dest: &Path,
    rootless: bool,
) -> Result<(), Failure> {
    let layout = Layout::new(&image.manifest);
    let dir = tempfile::Builder::new().prefix("ft-materialize-").tempdir_in(work)?;
    let (metadata, data) = (dir.path().join("meta.img"), dir.path().join("data.img"));
    let files = [sized(&metadata, layout.metadata_len())?, sized(&data, layout.data_len())?];
    let bars = Bars::new(global);
    bars.start("reading".to_owned(), Some(image.manifest.stored_bytes()));
    let every: Vec<_> = (0..layout.len()).map(BlockIndex).collect();
    let mut blocks = fetch_blocks(image.origin.as_ref(), &layout, &every);
    while let Some((index, stored)) = blocks.next().await {
        let stored = stored.map_err(|error| Failure::new(Kind::Failed, error))?;
        bars.advance(stored.len() as u64);
        let Some(place) = layout.block(index) else { continue };
        if BlockId::of(&stored) != place.id {
            let message = format!("block {index} from {} is damaged", image.origin.describe());
            return Err(Failure::message(Kind::Integrity, message));
        }
        let raw = decompress_block(place.codec, &stored, place.raw_len)
            .map_err(|error| Failure::new(Kind::Integrity, error).context(format!("block {index}")))?;
        let file = &files[usize::from(index.0 >= layout.metadata_blocks())];
        std::os::unix::fs::FileExt::write_all_at(file, &raw, place.device_offset)?;
    }
    bars.finish();
    let dest = dest.to_owned();
    let shown = dest.display().to_string();
    let options = if rootless { MaterializeOptions::UNPRIVILEGED } else { materializer::options() };
    let written =
        tokio::task::spawn_blocking(move || materializer::write_out(&metadata, &data, &dest, &options));
    let written = written.await.map_err(anyhow::Error::from)??;
    match global.output {
        Format::Json => output::json(&serde_json::json!({
            "image": image.digest.to_string(),
            "directory": shown,
            "names": written.names,
            "bytes": written.bytes,
            "devices_left_out": written.devices_left_out,
        })),
        Format::Text => output::line(&format!(
            "{shown}: {} names, {}{}",
            written.names,
            output::bytes(written.bytes),
            if options == MaterializeOptions::ALL { "" } else { "; owners and devices not applied" }
        )),
    }
}

fn sized(path: &Path, len: u64) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::options().create_new(true).read(true).write(true).open(path)?;
    // EROFS counts its devices in blocks of 4 KiB.
    file.set_len(len.next_multiple_of(4096))?;
    Ok(file)
}
