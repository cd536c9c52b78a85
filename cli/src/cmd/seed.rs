//! `ft seed`: convert a source into a function image, publish it, register the function.

use ft_blockstore::RefName;
use ft_proto::v1;

use super::function::{FunctionJson, label};
use crate::args::{Global, SeedArgs};
use crate::client::Client;
use crate::convert::convert;
use crate::failure::{Failure, Kind};
use crate::origin;
use crate::output::{self, Format};
use crate::progress::Bars;

pub(crate) async fn run(global: &Global, args: &SeedArgs) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let function = seed_into(global, &client, args).await?;
    match global.output {
        Format::Json => output::json(&FunctionJson::from(&function)),
        Format::Text => output::line(&format!(
            "{}  {} in {} blocks, {} stored",
            label(&function),
            output::bytes(function.image_bytes),
            function.blocks,
            output::bytes(function.stored_bytes)
        )),
    }
}

/// Converts, publishes, and registers; interrupted at any point, nothing half-made is visible.
pub(crate) async fn seed_into(
    global: &Global,
    client: &Client,
    args: &SeedArgs,
) -> Result<v1::Function, Failure> {
    let request = publish(global, client, args).await?;
    Ok(client.functions().create_function(request).await?.into_inner())
}

/// Converts and publishes; what registers the function then.
pub(crate) async fn publish(
    global: &Global,
    client: &Client,
    args: &SeedArgs,
) -> Result<v1::CreateFunctionRequest, Failure> {
    let spec = args.origin.clone().unwrap_or_default();
    // Opened first: a mistake in its name should not cost a conversion.
    let origin = origin::open(&spec, client.credential(), &args.convert)?;
    let converted = convert(global, &args.source, &args.convert, &args.args).await?;
    let hex = converted.digest.hex().to_string();
    let name: RefName =
        format!("{}-{}", args.name, &hex[..12]).parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let bars = Bars::new(global);
    let published = ft_image::publish(&converted, origin.as_ref(), &name, &bars).await;
    bars.finish();
    published.map_err(|error| Failure::new(Kind::Failed, error).context("cannot publish the image"))?;
    Ok(v1::CreateFunctionRequest {
        name: args.name.clone(),
        manifest: converted.manifest_bytes.clone(),
        origin: spec,
        source: args.source.clone(),
        tenant: args.tenant.clone(),
    })
}
