//! `ft reclaim`: stop containers.

use ft_proto::v1;

use crate::args::{Global, ReclaimArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, args: &ReclaimArgs) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let request = v1::ReclaimRequest {
        function: args.function.clone(),
        containers: args.containers.clone(),
        count: args.count.unwrap_or(0),
        tenant: args.tenant.clone(),
    };
    let containers = client.scheduler().reclaim(request).await?.into_inner().containers;
    if global.output == Format::Json {
        return output::json(&serde_json::json!({ "reclaimed": containers }));
    }
    containers.iter().try_for_each(|container| output::line(container))
}
