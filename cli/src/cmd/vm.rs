//! `ft vm`: list and drain VMs, let new ones join.

use ft_proto::v1;
use ft_proto::v1::VmState;

use super::tree::ImageJson;
use crate::args::{Global, VmCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, command: &VmCommand) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    match command {
        VmCommand::Ls => list(global, &client).await,
        VmCommand::Drain { vm } => {
            client.pool().drain_vm(v1::DrainVmRequest { vm: vm.clone() }).await?;
            output::line(vm)
        }
        VmCommand::Token { ttl } => {
            let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            let request = v1::CreateJoinTokenRequest { ttl_s };
            let token = client.pool().create_join_token(request).await?.into_inner().token;
            match global.output {
                Format::Json => output::json(&serde_json::json!({ "token": token })),
                Format::Text => output::line(&token),
            }
        }
    }
}

async fn list(global: &Global, client: &Client) -> Result<(), Failure> {
    let vms = client.pool().list_vms(v1::ListVmsRequest {}).await?.into_inner().vms;
    if global.output == Format::Json {
        let list: Vec<_> = vms.iter().map(VmJson::from).collect();
        return output::json(&list);
    }
    let rows = vms.iter().map(|vm| {
        vec![
            vm.vm.clone(),
            vm.name.clone(),
            state_name(vm.state()).to_owned(),
            vm.peer_address.clone(),
            vm.containers.to_string(),
            vm.images.len().to_string(),
        ]
    });
    output::table(&["vm", "name", "state", "address", "containers", "images"], rows)
}

fn state_name(state: VmState) -> &'static str {
    match state {
        VmState::Unspecified => "unknown",
        VmState::Free => "free",
        VmState::Active => "active",
        VmState::Suspect => "suspect",
        VmState::Draining => "draining",
        VmState::Lost => "lost",
    }
}

#[derive(serde::Serialize)]
struct VmJson {
    vm: String,
    name: String,
    state: &'static str,
    address: String,
    containers: u32,
    cpus: u32,
    memory_bytes: u64,
    last_heard_unix_us: i64,
    images: Vec<ImageJson>,
}

impl From<&v1::Vm> for VmJson {
    fn from(vm: &v1::Vm) -> Self {
        Self {
            vm: vm.vm.clone(),
            name: vm.name.clone(),
            state: state_name(vm.state()),
            address: vm.peer_address.clone(),
            containers: vm.containers,
            cpus: vm.cpus,
            memory_bytes: vm.memory_bytes,
            last_heard_unix_us: vm.last_heard_unix_us,
            images: vm.images.iter().map(ImageJson::from).collect(),
        }
    }
}
