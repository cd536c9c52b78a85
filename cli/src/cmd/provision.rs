//! `ft provision`: start containers and stream the states that they reach.

use std::collections::BTreeSet;
use std::time::Duration;

use ft_proto::v1;
use ft_proto::v1::ContainerState as State;

use crate::args::{Global, ProvisionArgs, Wait};
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};
use crate::signal;

/// The manager ends the stream at the deadline; this is for a manager that does not.
const STREAM_GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(global: &Global, args: &ProvisionArgs) -> Result<(), Failure> {
    let shutdown = signal::shutdown_token()?;
    let client = Client::connect(global).await?;
    let mut events = client.scheduler().provision(request(args)).await?.into_inner();
    let mut outcome = Outcome::new(args);
    let end = tokio::time::Instant::now() + args.timeout + STREAM_GRACE;
    while !outcome.is_settled() {
        let event = tokio::select! {
            event = events.message() => event?,
            () = tokio::time::sleep_until(end) => None,
            () = shutdown.cancelled() => {
                return Err(Failure::message(Kind::Failed, "interrupted; the containers go on starting")
                    .next(format!("stop them with: ft reclaim {}", args.function)));
            }
        };
        let Some(event) = event else { break };
        show(global, &event)?;
        outcome.note(&event);
    }
    outcome.into_result()
}

fn request(args: &ProvisionArgs) -> v1::ProvisionRequest {
    v1::ProvisionRequest {
        function: args.function.clone(),
        count: args.count,
        mode: v1::Mode::from(args.mode).into(),
        shape: v1::TreeShape::from(args.tree).into(),
        deadline_ms: u32::try_from(args.timeout.as_millis()).unwrap_or(u32::MAX),
        idempotency_key: args.idempotency_key.clone(),
        env: args.env.clone(),
        args: args.args.clone(),
        memory_bytes: args.memory,
        tenant: args.tenant.clone(),
        vms: args.vms.clone(),
    }
}

/// What is known of the containers so far.
struct Outcome {
    wait: Wait,
    count: usize,
    placed: BTreeSet<String>,
    ready: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Outcome {
    fn new(args: &ProvisionArgs) -> Self {
        let empty = BTreeSet::new;
        Self { wait: args.wait, count: args.count as usize, placed: empty(), ready: empty(), failed: empty() }
    }

    fn note(&mut self, event: &v1::ContainerEvent) {
        let container = event.container.clone();
        if !event.replaced_by.is_empty() {
            // The one that takes its place is what counts.
            self.placed.remove(&container);
            self.ready.remove(&container);
            return;
        }
        self.placed.insert(container.clone());
        match event.state() {
            State::Ready => self.ready.insert(container),
            State::Failed => self.failed.insert(container),
            // One that has been ready and is done has not failed.
            State::Stopped if !self.ready.contains(&container) => self.failed.insert(container),
            _ => false,
        };
    }

    fn is_settled(&self) -> bool {
        match self.wait {
            Wait::Placed => self.placed.len() >= self.count,
            Wait::Ready => self.ready.union(&self.failed).count() >= self.count,
        }
    }

    fn into_result(self) -> Result<(), Failure> {
        let (ready, failed) = (self.ready.len(), self.failed.len());
        if failed > 0 {
            return Err(Failure::message(
                Kind::Failed,
                format!("{failed} of {} containers failed; the causes are above", self.count),
            ));
        }
        if !self.is_settled() {
            return Err(Failure::message(
                Kind::Failed,
                format!("only {ready} of {} containers were ready in time", self.count),
            )
            .next("see where they are with: ft ps"));
        }
        Ok(())
    }
}

/// Writes one event.
fn show(global: &Global, event: &v1::ContainerEvent) -> Result<(), Failure> {
    if global.output == Format::Json {
        return output::json(&EventJson::from(event));
    }
    let state = state_name(event.state());
    let mut text = format!(
        "{:<10} {:<8} {:<8} {:>10}",
        event.container,
        event.vm,
        state,
        output::micros(event.elapsed_us)
    );
    if !event.replaces.is_empty() && event.state() == State::Placed {
        text.push_str(&format!("  in the place of {}", event.replaces));
    }
    if !event.cause.is_empty() {
        text.push_str("  ");
        text.push_str(&event.cause);
    }
    output::line(&text)
}

/// A state as users see it.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Placed => "placed",
        State::Joined => "joined",
        State::Mounted => "mounted",
        State::Started => "started",
        State::Ready => "ready",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}

/// A container's event in `-o json`.
#[derive(serde::Serialize)]
pub(crate) struct EventJson {
    container: String,
    function: String,
    vm: String,
    state: &'static str,
    at_unix_us: i64,
    elapsed_us: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    cause: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    output_tail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// The container whose place this one took.
    #[serde(skip_serializing_if = "String::is_empty")]
    replaces: String,
    /// The container that takes this one's place.
    #[serde(skip_serializing_if = "String::is_empty")]
    replaced_by: String,
}

impl From<&v1::ContainerEvent> for EventJson {
    fn from(event: &v1::ContainerEvent) -> Self {
        Self {
            container: event.container.clone(),
            function: event.function.clone(),
            vm: event.vm.clone(),
            state: state_name(event.state()),
            at_unix_us: event.at_unix_us,
            elapsed_us: event.elapsed_us,
            cause: event.cause.clone(),
            output_tail: event.output_tail.clone(),
            exit_code: event.exit_code,
            replaces: event.replaces.clone(),
            replaced_by: event.replaced_by.clone(),
        }
    }
}
