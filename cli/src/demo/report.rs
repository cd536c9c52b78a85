//! What the demo found: one row per VM, and the totals.

use std::collections::BTreeMap;

use ft_proto::v1;
use ft_proto::v1::ContainerState as State;
use serde::Serialize;

use crate::args::Global;
use crate::client::Client;
use crate::cmd::{function_label, parents, shape_name};
use crate::failure::Failure;
use crate::output::{self, Format};

/// Collects events and the tree, then tells.
#[derive(Default)]
pub(super) struct Report {
    containers: BTreeMap<String, Container>,
}

#[derive(Default)]
struct Container {
    vm: String,
    mounted_us: Option<i64>,
    started_us: Option<i64>,
    ready_us: Option<i64>,
    failure: Option<String>,
    output: String,
}

/// The object of `-o json`.
#[derive(Serialize)]
struct Totals<'a> {
    function: &'a str,
    vms: usize,
    containers_ready: usize,
    image_bytes: u64,
    stored_bytes: u64,
    touched_bytes: u64,
    origin_bytes: u64,
    first_ready_ms: Option<f64>,
    last_ready_ms: Option<f64>,
    mounts: bool,
    tree: &'static str,
    per_vm: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    vm: String,
    depth: Vec<u32>,
    parent: Vec<String>,
    touched_blocks: u32,
    total_blocks: u32,
    stored_blocks: u32,
    origin_bytes: u64,
    mounted_ms: Option<f64>,
    started_ms: Option<f64>,
    ready_ms: Option<f64>,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Report {
    pub(super) fn note(&mut self, event: &v1::ContainerEvent) {
        if !event.replaced_by.is_empty() {
            // The one that takes its place is what counts.
            self.containers.remove(&event.container);
            return;
        }
        let container = self.containers.entry(event.container.clone()).or_default();
        container.vm.clone_from(&event.vm);
        match event.state() {
            State::Mounted => container.mounted_us = Some(event.elapsed_us),
            State::Started => container.started_us = Some(event.elapsed_us),
            State::Ready => container.ready_us = Some(event.elapsed_us),
            State::Failed => container.failure = Some(event.cause.clone()),
            // One that has been ready and is done has not failed.
            State::Stopped if container.ready_us.is_none() => container.failure = Some(event.cause.clone()),
            _ => {}
        }
        if !event.output_tail.is_empty() {
            container.output = event.output_tail.trim_end().to_owned();
        }
    }

    /// Containers that are ready, and those that are ready or have failed.
    pub(super) fn settled(&self) -> (usize, usize) {
        let ready = self.containers.values().filter(|container| container.ready_us.is_some()).count();
        let settled = |container: &&Container| container.ready_us.is_some() || container.failure.is_some();
        (ready, self.containers.values().filter(settled).count())
    }

    /// The cause of the first failure.
    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.containers.values().find(|container| container.failure.is_some())?;
        Some(format!("{}: {}", failed.vm, failed.failure.clone().unwrap_or_default()))
    }

    /// Runs the function in every container that is ready, all at the same time.
    pub(super) async fn invoke(&mut self, client: &Client, args: &[String]) -> Result<(), Failure> {
        let ready = self.containers.iter_mut().filter(|(_, container)| container.ready_us.is_some());
        let calls = ready.map(|(name, container)| async move {
            let request = v1::ExecContainerRequest {
                container: name.clone(),
                args: args.to_vec(),
                ..Default::default()
            };
            let result = client.scheduler().exec_container(request).await?.into_inner();
            container.output = String::from_utf8_lossy(&result.stdout).trim_end().to_owned();
            if result.exit_code != 0 {
                let said = String::from_utf8_lossy(&result.stderr).trim_end().to_owned();
                container.failure = Some(format!("the function exited with {}: {said}", result.exit_code));
            }
            Ok::<_, Failure>(())
        });
        futures_util::future::try_join_all(calls).await.map(drop)
    }

    /// Writes the report.
    pub(super) fn write(
        &self,
        global: &Global,
        function: &v1::Function,
        tree: &v1::Tree,
        mounts: bool,
    ) -> Result<(), Failure> {
        let name = function_label(function);
        let ready = || self.containers.values().filter_map(|container| container.ready_us);
        let totals = Totals {
            function: &name,
            vms: self.containers.len(),
            containers_ready: ready().count(),
            image_bytes: function.image_bytes,
            stored_bytes: function.stored_bytes,
            touched_bytes: tree.touched_bytes,
            origin_bytes: tree.origin_bytes,
            first_ready_ms: ready().min().map(millis),
            last_ready_ms: ready().max().map(millis),
            mounts,
            tree: shape_name(tree.shape()),
            per_vm: self.containers.values().map(|container| row(container, tree)).collect(),
        };
        match global.output {
            Format::Json => output::json(&totals),
            Format::Text => write_text(&totals),
        }
    }
}

fn row(container: &Container, tree: &v1::Tree) -> Row {
    let vm = tree.vms.iter().find(|vm| vm.vm == container.vm);
    let image = vm.and_then(|vm| vm.image.clone()).unwrap_or_default();
    Row {
        vm: container.vm.clone(),
        depth: vm.map(|vm| vm.depths.clone()).unwrap_or_default(),
        parent: parents(tree, &container.vm),
        touched_blocks: image.touched_blocks,
        total_blocks: image.total_blocks,
        stored_blocks: image.stored_blocks,
        origin_bytes: image.origin_bytes,
        mounted_ms: container.mounted_us.map(millis),
        started_ms: container.started_us.map(millis),
        ready_ms: container.ready_us.map(millis),
        output: container.output.clone(),
        failure: container.failure.clone(),
    }
}

fn write_text(totals: &Totals<'_>) -> Result<(), Failure> {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
    let mut rows: Vec<&Row> = totals.per_vm.iter().collect();
    rows.sort_by_key(|row| (row.depth.iter().min().copied(), row.vm.len(), row.vm.clone()));
    let cells = rows.iter().map(|row| {
        let depths: Vec<_> = row.depth.iter().map(u32::to_string).collect();
        vec![
            row.vm.clone(),
            depths.join("/"),
            row.parent.join("/"),
            format!("{}/{}", row.touched_blocks, row.total_blocks),
            ms(row.mounted_ms),
            ms(row.started_ms),
            ms(row.ready_ms),
        ]
    });
    output::table(&["vm", "depth", "parent", "touched", "mounted", "started", "ready"], cells)?;
    let mut outputs: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &totals.per_vm {
        *outputs.entry(&row.output).or_default() += 1;
    }
    for (text, count) in outputs {
        output::line(&format!("\n{count} of {} containers printed: {text}", totals.per_vm.len()))?;
    }
    output::line(&format!(
        "\n{} of {} containers ready, the first after {}, the last after {}.",
        totals.containers_ready,
        totals.vms,
        ms(totals.first_ready_ms),
        ms(totals.last_ready_ms)
    ))?;
    output::line(&format!(
        "Image {} ({} stored); touched {}; read from the origin {} for {} VMs.",
        output::bytes(totals.image_bytes),
        output::bytes(totals.stored_bytes),
        output::bytes(totals.touched_bytes),
        output::bytes(totals.origin_bytes),
        totals.vms
    ))
}

fn millis(us: i64) -> f64 {
    us as f64 / 1000.0
}
