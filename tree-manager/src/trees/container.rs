//! One container: what should be, and the states it reached.

use std::sync::Arc;

use ft_core::VmId;
use ft_proto::v1::{self, ContainerState};
use tokio::sync::mpsc;

use crate::functions::Function;
use crate::ids::ContainerId;
use crate::state::record::{ContainerRecord, ContainerSpec, Distribution};
use crate::time::{Now, micros};

/// A container, from its placement until some time after its end.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) function: Arc<Function>,
    pub(crate) vm: VmId,
    pub(crate) spec: Arc<ContainerSpec>,
    /// Whether it should run.
    pub(crate) wanted: bool,
    /// What its worker knows of it.
    pub(super) told: Told,
    /// What its start read was reported.
    pub(super) start_counted: bool,
    /// How often it was placed again.
    pub(super) attempt: u32,
    /// The container whose place it took.
    replaces: Option<ContainerId>,
    /// The container that took its place.
    pub(super) replaced_by: Option<ContainerId>,
    /// Of the Provision call that wanted it; empty: none.
    idempotency_key: Arc<str>,
    pub(super) placed_at: Now,
    history: Vec<v1::ContainerEvent>,
    watchers: Vec<mpsc::UnboundedSender<v1::ContainerEvent>>,
}

/// What a worker knows of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is from before a restart of the manager: the worker may have heard of it.
    Unclear,
    /// Nothing: the command to start it was not sent.
    Nothing,
    /// The command was sent, and may or may not have arrived.
    Sent,
    /// The worker has answered.
    Known,
}

/// A state to reach, with what is known about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    state: ContainerState,
    cause: String,
    output_tail: String,
    exit_code: Option<i32>,
    worker_elapsed_us: Option<i64>,
}

impl Stage {
    fn of(state: ContainerState, cause: &str) -> Self {
        Self { state, cause: cause.to_owned(), ..Self::default() }
    }

    pub(crate) fn placed() -> Self {
        Self::of(ContainerState::Placed, "")
    }

    pub(crate) fn joined() -> Self {
        Self::of(ContainerState::Joined, "")
    }

    pub(crate) fn failed(cause: &str) -> Self {
        Self::of(ContainerState::Failed, cause)
    }

    pub(crate) fn stopped(cause: &str) -> Self {
        Self::of(ContainerState::Stopped, cause)
    }

    /// What a worker reports.
    pub(crate) fn reported(report: v1::ContainerReport) -> Self {
        Self {
            state: report.state(),
            cause: report.cause,
            output_tail: report.output_tail,
            exit_code: report.exit_code,
            worker_elapsed_us: Some(report.elapsed_us),
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        is_end(self.state)
    }

    pub(super) fn is_past_joining(&self) -> bool {
        self.state > ContainerState::Joined && !self.is_end()
    }
}

impl Container {
    pub(super) fn new(
        id: ContainerId,
        function: Arc<Function>,
        vm: VmId,
        spec: Arc<ContainerSpec>,
        idempotency_key: Arc<str>,
        now: Now,
    ) -> Self {
        Self {
            id,
            function,
            vm,
            spec,
            wanted: true,
            told: Told::Nothing,
            start_counted: false,
            attempt: 0,
            replaces: None,
            replaced_by: None,
            idempotency_key,
            placed_at: now,
            history: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// A container from before the manager's restart.
    pub(super) fn restored(
        id: ContainerId,
        record: &ContainerRecord,
        function: Arc<Function>,
        now: Now,
    ) -> Self {
        let (spec, key) = (Arc::new(record.spec.clone()), record.idempotency_key.as_str().into());
        let mut container = Self::new(id, function, record.vm(), spec, key, now);
        container.told = Told::Unclear;
        container.attempt = record.attempt;
        container.replaces = record.replaces.map(|(term, number)| ContainerId { term, number });
        if record.placed_unix_us > 0 {
            container.placed_at.unix_us = record.placed_unix_us;
        }
        container.reach(Stage::placed(), now);
        container
    }

    /// The container that takes this one's place, with everyone who watches this one.
    pub(super) fn replacement(&self, id: ContainerId, vm: VmId, attempt: u32, now: Now) -> Self {
        let (function, spec) = (Arc::clone(&self.function), Arc::clone(&self.spec));
        let key = Arc::clone(&self.idempotency_key);
        let mut container = Self::new(id, function, vm, spec, key, now);
        container.attempt = attempt;
        container.replaces = Some(self.id);
        container.watchers.clone_from(&self.watchers);
        container
    }

    /// What of it must not be forgotten.
    pub(crate) fn record(&self, distribution: Distribution) -> ContainerRecord {
        ContainerRecord {
            function: self.function.key.clone(),
            vm: self.vm.0,
            spec: ContainerSpec::clone(&self.spec),
            distribution,
            idempotency_key: self.idempotency_key.to_string(),
            replaces: self.replaces.map(|id| (id.term, id.number)),
            attempt: self.attempt,
            placed_unix_us: self.placed_at.unix_us,
        }
    }

    /// The state that it reached last; unspecified: not durable yet.
    pub(crate) fn state(&self) -> ContainerState {
        self.history.last().map_or(ContainerState::Unspecified, v1::ContainerEvent::state)
    }

    pub(crate) fn history(&self) -> &[v1::ContainerEvent] {
        &self.history
    }

    pub(crate) fn has_ended(&self) -> bool {
        is_end(self.state())
    }

    /// Whether its worker has certainly never heard of it.
    pub(super) fn is_untold(&self) -> bool {
        self.told == Told::Nothing
    }

    /// Notes a state and tells the watchers, unless the container is as far or has ended.
    pub(super) fn reach(&mut self, stage: Stage, now: Now) {
        if self.has_ended() || stage.state <= self.state() {
            return;
        }
        let event = v1::ContainerEvent {
            container: self.id.to_string(),
            function: self.function.label.clone(),
            vm: self.vm.to_string(),
            state: stage.state.into(),
            at_unix_us: now.unix_us,
            elapsed_us: micros(now.instant.saturating_duration_since(self.placed_at.instant)),
            cause: stage.cause,
            output_tail: stage.output_tail,
            exit_code: stage.exit_code,
            worker_elapsed_us: stage.worker_elapsed_us,
            replaces: self.replaces.map(|id| id.to_string()).unwrap_or_default(),
            replaced_by: self.replaced_by.map(|id| id.to_string()).unwrap_or_default(),
        };
        self.watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
        self.history.push(event);
        if self.has_ended() {
            self.watchers = Vec::new();
        }
    }

    pub(super) fn watch(&mut self, watcher: mpsc::UnboundedSender<v1::ContainerEvent>) {
        let listening = self.history.iter().all(|event| watcher.send(event.clone()).is_ok());
        if listening && !self.has_ended() {
            self.watchers.retain(|watcher| !watcher.is_closed());
            self.watchers.push(watcher);
        }
    }
}

fn is_end(state: ContainerState) -> bool {
    matches!(state, ContainerState::Failed | ContainerState::Stopped)
}

/// A state's name in messages.
pub(crate) fn state_name(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Unspecified => "being placed",
        ContainerState::Placed => "placed",
        ContainerState::Joined => "joined",
        ContainerState::Mounted => "mounted",
        ContainerState::Started => "started",
        ContainerState::Ready => "ready",
        ContainerState::Failed => "failed",
        ContainerState::Stopped => "stopped",
    }
}
