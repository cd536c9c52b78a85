//! `ft ps`: list containers.

use ft_proto::v1;
use ft_proto::v1::ContainerState as State;

use super::provision::{EventJson, state_name};
use crate::args::{Global, PsArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, args: &PsArgs) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let request = v1::ListContainersRequest { function: args.function.clone(), tenant: args.tenant.clone() };
    let mut containers = client.scheduler().list_containers(request).await?.into_inner().containers;
    if !args.all {
        containers.retain(|container| !matches!(container.state(), State::Failed | State::Stopped));
    }
    if global.output == Format::Json {
        let list: Vec<_> = containers.iter().map(ContainerJson::from).collect();
        return output::json(&list);
    }
    let rows = containers.iter().map(|container| {
        let last = container.history.last();
        vec![
            container.container.clone(),
            container.function.clone(),
            container.vm.clone(),
            container.vm_name.clone(),
            state_name(container.state()).to_owned(),
            last.map(|event| output::micros(event.elapsed_us)).unwrap_or_default(),
            last.map(|event| event.cause.clone()).unwrap_or_default(),
        ]
    });
    output::table(&["container", "function", "vm", "name", "state", "after", "cause"], rows)
}

#[derive(serde::Serialize)]
struct ContainerJson {
    container: String,
    function: String,
    vm: String,
    vm_name: String,
    state: &'static str,
    history: Vec<EventJson>,
}

impl From<&v1::Container> for ContainerJson {
    fn from(container: &v1::Container) -> Self {
        Self {
            container: container.container.clone(),
            function: container.function.clone(),
            vm: container.vm.clone(),
            vm_name: container.vm_name.clone(),
            state: state_name(container.state()),
            history: container.history.iter().map(EventJson::from).collect(),
        }
    }
}
