//! `ft function`: list, show and remove functions.

use ft_proto::v1;

use crate::args::{FunctionCommand, FunctionName, Global};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, command: &FunctionCommand) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    match command {
        FunctionCommand::Ls { all_versions, tenant } => list(global, &client, *all_versions, tenant).await,
        FunctionCommand::Show(name) => show(global, &client, name).await,
        FunctionCommand::Rm(name) => remove(global, &client, name).await,
    }
}

async fn list(global: &Global, client: &Client, all_versions: bool, tenant: &str) -> Result<(), Failure> {
    let request = v1::ListFunctionsRequest { tenant: tenant.to_owned(), all_versions };
    let functions = client.functions().list_functions(request).await?.into_inner().functions;
    if global.output == Format::Json {
        let list: Vec<_> = functions.iter().map(FunctionJson::from).collect();
        return output::json(&list);
    }
    let rows = functions.iter().map(|function| {
        vec![
            label(function),
            function.tenant.clone(),
            output::bytes(function.image_bytes),
            output::bytes(function.stored_bytes),
            function.blocks.to_string(),
            function.containers.to_string(),
            function.source.clone(),
        ]
    });
    output::table(&["function", "tenant", "image", "stored", "blocks", "containers", "source"], rows)
}

async fn show(global: &Global, client: &Client, name: &FunctionName) -> Result<(), Failure> {
    let request = v1::GetFunctionRequest { function: name.function.clone(), tenant: name.tenant.clone() };
    let function = client.functions().get_function(request).await?.into_inner();
    if global.output == Format::Json {
        return output::json(&FunctionJson::from(&function));
    }
    let origin = if function.origin.is_empty() { "beside the manager" } else { &function.origin };
    for (name, value) in [
        ("function", label(&function)),
        ("tenant", function.tenant.clone()),
        ("image", function.image.clone()),
        ("origin", origin.to_owned()),
        ("source", function.source.clone()),
        ("image bytes", output::bytes(function.image_bytes)),
        ("stored bytes", output::bytes(function.stored_bytes)),
        ("blocks", function.blocks.to_string()),
        ("containers", function.containers.to_string()),
    ] {
        output::line(&format!("{name:<13} {value}"))?;
    }
    Ok(())
}

async fn remove(global: &Global, client: &Client, name: &FunctionName) -> Result<(), Failure> {
    let request = v1::DeleteFunctionRequest { function: name.function.clone(), tenant: name.tenant.clone() };
    let removed = client.functions().delete_function(request).await?.into_inner();
    let names: Vec<_> = removed.deleted.iter().map(label).collect();
    if global.output == Format::Json {
        return output::json(&serde_json::json!({ "removed": names, "unreferenced": removed.unreferenced }));
    }
    names.iter().try_for_each(|name| output::line(name))
}

/// A function's version as users name it: `NAME@VERSION`.
pub(crate) fn label(function: &v1::Function) -> String {
    format!("{}@{}", function.name, function.version)
}

/// A function in `-o json`.
#[derive(serde::Serialize)]
pub(crate) struct FunctionJson {
    name: String,
    version: u32,
    tenant: String,
    image: String,
    origin: String,
    source: String,
    image_bytes: u64,
    stored_bytes: u64,
    blocks: u32,
    containers: u32,
    created_unix_us: i64,
}

impl From<&v1::Function> for FunctionJson {
    fn from(function: &v1::Function) -> Self {
        Self {
            name: function.name.clone(),
            version: function.version,
            tenant: function.tenant.clone(),
            image: function.image.clone(),
            origin: function.origin.clone(),
            source: function.source.clone(),
            image_bytes: function.image_bytes,
            stored_bytes: function.stored_bytes,
            blocks: function.blocks,
            containers: function.containers,
            created_unix_us: function.created_unix_us,
        }
    }
}
