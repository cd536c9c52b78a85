//! `ft vm`: list, limit and drain VMs, let new ones join.

use ft_proto::v1;
use ft_proto::v1::VmState;

use super::tree::ImageJson;
use crate::args::{Global, LimitArgs, VmCommand};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, command: &VmCommand) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    match command {
        VmCommand::Ls => list(global, &client).await,
        VmCommand::Drain { vm } => {
            client.pool().drain_vm(v1::DrainVmRequest { vm: vm.clone() }).await?;
            output::line(vm)
        }
        VmCommand::Limit(args) => limit(&client, args).await,
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

/// What is not named stays as it is.
async fn limit(client: &Client, args: &LimitArgs) -> Result<(), Failure> {
    let vms = client.pool().list_vms(v1::ListVmsRequest {}).await?.into_inner().vms;
    let before = vms.into_iter().find(|vm| vm.vm == args.vm).ok_or_else(|| {
        Failure::message(Kind::NotFound, format!("there is no VM {}", args.vm)).next("`ft vm ls` lists them")
    })?;
    let before = before.limits.unwrap_or_default();
    let limits = v1::VmLimits {
        upload_bytes_per_s: args.rates.upload.unwrap_or(before.upload_bytes_per_s),
        download_bytes_per_s: args.rates.download.unwrap_or(before.download_bytes_per_s),
    };
    let request = v1::SetVmLimitsRequest { vm: args.vm.clone(), limits: Some(limits) };
    client.pool().set_vm_limits(request).await?;
    output::line(&args.vm)
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
            rate(vm.upload_bytes_per_s),
            limits(vm.limits.unwrap_or_default()),
            vm.slow_cause.clone(),
        ]
    });
    let header =
        ["vm", "name", "state", "address", "containers", "images", "upload", "limits", "slow because"];
    output::table(&header, rows)
}

/// Bytes per second as a link's rate for people; `-` if there is none.
fn rate(bytes_per_s: u64) -> String {
    let bits = bytes_per_s.saturating_mul(8);
    match bits {
        0 => "-".to_owned(),
        _ if bits < 9_950_000 => format!("{:.1} Mbit/s", bits as f64 / 1e6),
        _ => format!("{:.0} Mbit/s", bits as f64 / 1e6),
    }
}

/// A VM's limits for people.
fn limits(limits: v1::VmLimits) -> String {
    let both = [("up", limits.upload_bytes_per_s), ("down", limits.download_bytes_per_s)];
    let set = both.iter().filter(|(_, bytes)| *bytes > 0);
    let set: Vec<String> = set.map(|(what, bytes)| format!("{what} {}", rate(*bytes))).collect();
    if set.is_empty() { "-".to_owned() } else { set.join(", ") }
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
    /// Measured lately; 0: not known.
    upload_bytes_per_s: u64,
    /// 0: none.
    upload_limit_bytes_per_s: u64,
    download_limit_bytes_per_s: u64,
    slow: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    slow_cause: String,
    images: Vec<ImageJson>,
}

impl From<&v1::Vm> for VmJson {
    fn from(vm: &v1::Vm) -> Self {
        let limits = vm.limits.unwrap_or_default();
        Self {
            vm: vm.vm.clone(),
            name: vm.name.clone(),
            state: state_name(vm.state()),
            address: vm.peer_address.clone(),
            containers: vm.containers,
            cpus: vm.cpus,
            memory_bytes: vm.memory_bytes,
            last_heard_unix_us: vm.last_heard_unix_us,
            upload_bytes_per_s: vm.upload_bytes_per_s,
            upload_limit_bytes_per_s: limits.upload_bytes_per_s,
            download_limit_bytes_per_s: limits.download_bytes_per_s,
            slow: vm.slow,
            slow_cause: vm.slow_cause.clone(),
            images: vm.images.iter().map(ImageJson::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_limits_read_well() {
        assert_eq!(
            (rate(0), rate(12_500_000), rate(1_250)),
            ("-".into(), "100 Mbit/s".into(), "0.0 Mbit/s".into())
        );
        let both = v1::VmLimits { upload_bytes_per_s: 12_500_000, download_bytes_per_s: 125_000 };
        assert_eq!(limits(both), "up 100 Mbit/s, down 1.0 Mbit/s");
        assert_eq!(limits(v1::VmLimits::default()), "-");
    }
}
