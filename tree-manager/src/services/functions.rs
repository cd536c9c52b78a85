//! Functions and their trees.

use std::sync::Arc;

use ft_core::manifest::{Layout, MAX_MANIFEST_BYTES, Manifest};
use ft_core::{BlockIndex, Digest, VmId};
use ft_proto::v1::functions_server::Functions;
use ft_proto::v1::{
    CreateFunctionRequest, DeleteFunctionRequest, DeleteFunctionResponse, Function, GetFunctionRequest,
    ListFunctionsRequest, ListFunctionsResponse, ShowTreeRequest, Tree,
};
use tonic::{Request, Response, Status};

use super::to_the_end;
use crate::auth::caller;
use crate::core::Core;
use crate::ids::{FunctionRef, TreeKey, is_function_name, shorten};
use crate::refusal::Refusal;
use crate::state::Write;
use crate::state::record::FunctionRecord;
use crate::time::Now;

/// The longest origin specification, and the longest text that says what an image was made from.
const MAX_TEXT: usize = 4096;

/// The service for functions.
pub(crate) struct FunctionsService(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl Functions for FunctionsService {
    async fn create_function(
        &self,
        request: Request<CreateFunctionRequest>,
    ) -> Result<Response<Function>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        to_the_end(async move { create(&core, &tenant, request).await }).await.map(Response::new)
    }

    async fn get_function(&self, request: Request<GetFunctionRequest>) -> Result<Response<Function>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let wanted: FunctionRef = request.get_ref().function.parse().map_err(Refusal::from)?;
        Ok(Response::new(self.0.functions.find(&tenant, &wanted)?.describe()))
    }

    async fn list_functions(
        &self,
        request: Request<ListFunctionsRequest>,
    ) -> Result<Response<ListFunctionsResponse>, Status> {
        let tenant = caller(&request).tenant_or_all(&request.get_ref().tenant)?;
        let functions = self.0.functions.list(tenant.as_deref(), request.get_ref().all_versions);
        let functions = functions.iter().map(|function| function.describe()).collect();
        Ok(Response::new(ListFunctionsResponse { functions }))
    }

    async fn delete_function(
        &self,
        request: Request<DeleteFunctionRequest>,
    ) -> Result<Response<DeleteFunctionResponse>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let wanted: FunctionRef = request.get_ref().function.parse().map_err(Refusal::from)?;
        let core = Arc::clone(&self.0);
        to_the_end(async move { delete(&core, &tenant, &wanted).await }).await.map(Response::new)
    }

    async fn show_tree(&self, request: Request<ShowTreeRequest>) -> Result<Response<Tree>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let wanted: FunctionRef = request.get_ref().function.parse().map_err(Refusal::from)?;
        Ok(Response::new(show(&self.0, &tenant, &wanted).await?))
    }
}

async fn create(core: &Core, tenant: &str, request: CreateFunctionRequest) -> Result<Function, Refusal> {
    if !is_function_name(&request.name) {
        let name = shorten(&request.name);
        return Err(Refusal::Invalid(format!(
            "{name:?} is no name: expected 1 to 63 of a-z, 0-9, '.', '_' and '-'"
        )));
    }
    for (what, text) in [("origin", &request.origin), ("source", &request.source)] {
        if text.len() > MAX_TEXT {
            return Err(Refusal::Invalid(format!("the {what} has more than {MAX_TEXT} bytes")));
        }
    }
    let record = describe_image(&request)?;
    let key = core.functions.next_version(tenant, &request.name);
    core.store.write(vec![Write::Function(key.clone(), record.clone(), request.manifest)]).await?;
    let function = core.functions.insert(key, record);
    tracing::info!(function = function.label, tenant, "a function was registered");
    Ok(function.describe())
}

fn describe_image(request: &CreateFunctionRequest) -> Result<FunctionRecord, Refusal> {
    if request.manifest.len() > MAX_MANIFEST_BYTES {
        return Err(Refusal::Invalid(format!("the manifest has more than {MAX_MANIFEST_BYTES} bytes")));
    }
    let manifest = Manifest::decode(&request.manifest)
        .map_err(|error| Refusal::Invalid(format!("the manifest: {error}")))?;
    Ok(FunctionRecord {
        image: Digest::of(&request.manifest),
        packs: manifest.segments.iter().map(|segment| segment.pack).collect(),
        origin: request.origin.clone(),
        source: request.source.clone(),
        image_bytes: manifest.image_bytes(),
        stored_bytes: manifest.stored_bytes(),
        blocks: Layout::new(&manifest).len(),
        created_unix_us: Now::read().unix_us,
    })
}

async fn delete(core: &Core, tenant: &str, wanted: &FunctionRef) -> Result<DeleteFunctionResponse, Refusal> {
    let removed = core.functions.remove(tenant, wanted)?;
    let unreferenced = core.functions.unreferenced(&removed);
    let mut writes: Vec<_> =
        removed.iter().map(|function| Write::ForgetFunction(function.key.clone())).collect();
    writes.extend(unreferenced.iter().map(|blob| Write::ForgetManifest(*blob)));
    if let Err(error) = core.store.write(writes).await {
        core.functions.put_back(&removed);
        return Err(error.into());
    }
    for function in &removed {
        let image = function.record.image;
        let key = TreeKey { tenant: tenant.into(), image };
        if core.functions.with_image(&key).is_none() {
            core.trees.forget(&key);
            core.profiles.remove(&key);
            core.store.write_later(vec![Write::ForgetStarts(key)]);
        }
    }
    Ok(DeleteFunctionResponse {
        deleted: removed.iter().map(|function| function.describe()).collect(),
        unreferenced: unreferenced.iter().map(ToString::to_string).collect(),
    })
}

async fn show(core: &Core, tenant: &str, wanted: &FunctionRef) -> Result<Tree, Refusal> {
    let function = core.functions.find(tenant, wanted)?;
    let image = function.record.image;
    let key = TreeKey { tenant: tenant.into(), image };
    let tree = core.trees.get(&key).map(|cell| cell.lock().describe(&function.label));
    let mut tree = tree.unwrap_or_else(|| Tree { function: function.label.clone(), ..Tree::default() });
    for vm in &mut tree.vms {
        let id: VmId = vm.vm.parse().map_err(|_| Refusal::Invalid(vm.vm.clone()))?;
        vm.name = core.pool.name(id);
        vm.image = core.pool.image(id, image);
    }
    tree.origin_bytes =
        tree.vms.iter().filter_map(|vm| vm.image.as_ref()).map(|status| status.origin_bytes).sum();
    if let Some(manifest) = core.store.manifest(image).await? {
        let manifest = Manifest::decode(&manifest)
            .map_err(|error| Refusal::Invalid(format!("the stored manifest of {image}: {error}")))?;
        let layout = Layout::new(&manifest);
        add_touched(&mut tree, &layout);
        add_profile(&mut tree, core, &key, &layout);
    }
    Ok(tree)
}

/// The start-up profile, and its stored bytes.
fn add_profile(tree: &mut Tree, core: &Core, key: &TreeKey, layout: &Layout) {
    tree.profiled_starts = core.profiles.starts(key);
    let Some(profile) = core.profiles.get(key) else { return };
    let places = profile.blocks.iter().filter_map(|index| layout.block(BlockIndex(*index)));
    tree.profile_bytes = places.map(|place| u64::from(place.stored_len)).sum();
    tree.profile.clone_from(&profile.blocks);
}

/// How many blocks at least one VM has touched, and their stored bytes.
fn add_touched(tree: &mut Tree, layout: &Layout) {
    let touched = |index: u32| {
        let (byte, bit) = ((index / 8) as usize, index % 8);
        let has = |status: &ft_proto::v1::ImageStatus| {
            status.touched.get(byte).is_some_and(|bits| bits >> bit & 1 == 1)
        };
        tree.vms.iter().filter_map(|vm| vm.image.as_ref()).any(has)
    };
    let places =
        (0..layout.len()).filter(|index| touched(*index)).filter_map(|index| layout.block(BlockIndex(index)));
    let (blocks, bytes) =
        places.fold((0, 0), |(blocks, bytes), place| (blocks + 1, bytes + u64::from(place.stored_len)));
    tree.touched_blocks = blocks;
    tree.touched_bytes = bytes;
}
