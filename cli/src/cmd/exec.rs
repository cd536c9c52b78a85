//! `ft exec`: run a command inside a container.

use std::io::Write as _;

use ft_proto::v1;

use crate::args::{ExecArgs, Global};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, args: &ExecArgs) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let request = v1::ExecContainerRequest {
        container: args.container.clone(),
        args: args.args.clone(),
        stdin: Vec::new(),
        timeout_ms: u32::try_from(args.timeout.as_millis()).unwrap_or(u32::MAX),
    };
    let result = client.scheduler().exec_container(request).await?.into_inner();
    if global.output == Format::Json {
        output::json(&serde_json::json!({
            "container": args.container,
            "exit_code": result.exit_code,
            "stdout": String::from_utf8_lossy(&result.stdout),
            "stderr": String::from_utf8_lossy(&result.stderr),
        }))?;
    } else {
        std::io::stdout().write_all(&result.stdout)?;
        std::io::stderr().write_all(&result.stderr)?;
    }
    match result.exit_code {
        0 => Ok(()),
        code => Err(Failure::message(Kind::Failed, format!("the command exited with {code}"))),
    }
}
