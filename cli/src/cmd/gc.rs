//! `ft gc`: remove what no function uses from the origin beside the manager.

use ft_blockstore::DirOrigin;
use ft_core::Digest;
use ft_proto::v1;

use super::manager;
use crate::args::{GcArgs, Global};
use crate::client::{Client, Credential};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, args: &GcArgs) -> Result<(), Failure> {
    let state_dir = manager::state_dir(args.state_dir.as_deref());
    let credential = match &global.credential {
        Some(path) => Credential::load(path)?,
        None => Credential::load(&state_dir.join("admin.json"))?,
    };
    let origin_dir = args.origin_dir.clone().unwrap_or_else(|| manager::origin_dir(&state_dir));
    if !origin_dir.is_dir() {
        let message = format!("there is no origin in {}", origin_dir.display());
        return Err(Failure::message(Kind::NotFound, message).next(
            "run it on the manager's host, with the --state-dir and --origin-dir that the manager has",
        ));
    }
    let used = used_images(&Client::with(credential).await?).await?;
    let origin = DirOrigin::open(&origin_dir).map_err(anyhow::Error::from)?;
    // Names go first: what a name leads to is no garbage.
    let (names, objects) = match args.dry_run {
        true => (origin.unused(&used, args.grace).await, origin.unreferenced(&used, args.grace).await),
        false => (origin.retire(&used, args.grace).await, origin.collect_garbage(&used, args.grace).await),
    };
    let names = names.map_err(anyhow::Error::from)?;
    let objects = objects.map_err(anyhow::Error::from)?;
    let bytes: u64 = objects.iter().map(|object| object.size).sum();
    match global.output {
        Format::Json => output::json(&serde_json::json!({
            "removed": !args.dry_run,
            "images": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "objects": objects.iter().map(|object| object.digest.to_string()).collect::<Vec<_>>(),
            "bytes": bytes,
        })),
        Format::Text => {
            let verb = if args.dry_run { "would forget" } else { "forgot" };
            output::line(&format!(
                "{verb} {} images; garbage: {} objects, {}",
                names.len(),
                objects.len(),
                output::bytes(bytes)
            ))
        }
    }
}

/// The images of all functions of all tenants.
async fn used_images(client: &Client) -> Result<Vec<Digest>, Failure> {
    let request = v1::ListFunctionsRequest { tenant: String::new(), all_versions: true };
    let functions = client.functions().list_functions(request).await?.into_inner().functions;
    let parse = |function: v1::Function| {
        function.image.parse().map_err(|error| {
            Failure::new(Kind::Failed, error).context(format!("the image of function {}", function.name))
        })
    };
    functions.into_iter().map(parse).collect()
}
