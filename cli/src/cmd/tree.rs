//! `ft tree show`: a function's tree as it is now.

use std::collections::BTreeMap;

use ft_proto::v1;

use crate::args::{Global, TreeCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global, command: &TreeCommand) -> Result<(), Failure> {
    let TreeCommand::Show(name) = command;
    let client = Client::connect(global).await?;
    let request = v1::ShowTreeRequest { function: name.function.clone(), tenant: name.tenant.clone() };
    let tree = client.functions().show_tree(request).await?.into_inner();
    match global.output {
        Format::Json => output::json(&TreeJson::from(&tree)),
        Format::Text => output::line(&draw(&tree)),
    }
}

/// The tree as text: each stripe's root with its children below, and each VM's blocks.
pub(crate) fn draw(tree: &v1::Tree) -> String {
    let epoch = tree.epoch.unwrap_or_default();
    let shape = shape_name(tree.shape());
    let mut text = format!(
        "{} · {shape} · {} VMs · epoch {}.{}",
        tree.function,
        tree.vms.len(),
        epoch.term,
        epoch.counter
    );
    if tree.profiled_starts > 0 {
        text.push_str(&format!(
            "\nstart-up profile: {} blocks ({}) from {} starts",
            tree.profile.len(),
            output::bytes(tree.profile_bytes),
            tree.profiled_starts
        ));
    }
    let vms: BTreeMap<_, _> = tree.vms.iter().map(|vm| (vm.vm.as_str(), vm)).collect();
    for (nth, stripe) in tree.stripes.iter().enumerate() {
        if tree.stripes.len() > 1 {
            text.push_str(&format!("\nstripe {nth} ({} blocks)", if nth == 0 { "even" } else { "odd" }));
        }
        let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for edge in &stripe.edges {
            children.entry(&edge.parent).or_default().push(&edge.child);
        }
        if !stripe.root.is_empty() {
            draw_below(&mut text, &vms, &children, &stripe.root);
        }
    }
    text
}

/// Draws a subtree. Not by recursion: a chain may be long.
fn draw_below(
    text: &mut String,
    vms: &BTreeMap<&str, &v1::TreeVm>,
    children: &BTreeMap<&str, Vec<&str>>,
    root: &str,
) {
    let mut waiting = vec![(root, String::new(), String::new())];
    while let Some((vm, branch, indent)) = waiting.pop() {
        let blocks = vms.get(vm).and_then(|vm| vm.image.as_ref()).map(|image| {
            format!(
                "  {}/{} blocks, {} touched",
                image.stored_blocks, image.total_blocks, image.touched_blocks
            )
        });
        let slow = if vms.get(vm).is_some_and(|vm| vm.slow) { "  slow" } else { "" };
        text.push_str(&format!("\n{branch}{vm}{}{slow}", blocks.unwrap_or_default()));
        let below = children.get(vm).map_or(&[][..], Vec::as_slice);
        for (nth, child) in below.iter().enumerate().rev() {
            let last = nth + 1 == below.len();
            let branch = format!("{indent}{}", if last { "└─ " } else { "├─ " });
            let indent = format!("{indent}{}", if last { "   " } else { "│  " });
            waiting.push((child, branch, indent));
        }
    }
}

/// From whom the VM receives each stripe's blocks.
pub(crate) fn parents(tree: &v1::Tree, vm: &str) -> Vec<String> {
    let parent = |stripe: &v1::TreeStripe| {
        let edge = stripe.edges.iter().find(|edge| edge.child == vm);
        edge.map_or_else(|| "origin".to_owned(), |edge| edge.parent.clone())
    };
    tree.stripes.iter().map(parent).collect()
}

/// A tree's shape as users see it.
pub(crate) fn shape_name(shape: v1::TreeShape) -> &'static str {
    match shape {
        v1::TreeShape::Avl => "avl",
        v1::TreeShape::Chain => "chain",
        v1::TreeShape::Paired | v1::TreeShape::Unspecified => "paired",
    }
}

#[derive(serde::Serialize)]
struct TreeJson {
    function: String,
    shape: &'static str,
    mode: &'static str,
    epoch: String,
    /// On at least one VM.
    touched_blocks: u32,
    touched_bytes: u64,
    /// Of all VMs together.
    origin_bytes: u64,
    profile: ProfileJson,
    stripes: Vec<StripeJson>,
    vms: Vec<TreeVmJson>,
}

/// The start-up profile.
#[derive(serde::Serialize)]
struct ProfileJson {
    /// Cold starts that it was made from.
    starts: u32,
    stored_bytes: u64,
    /// Block indices in the order of reads.
    blocks: Vec<u32>,
}

#[derive(serde::Serialize)]
struct StripeJson {
    root: String,
    height: u32,
    edges: Vec<EdgeJson>,
}

#[derive(serde::Serialize)]
struct EdgeJson {
    parent: String,
    child: String,
}

#[derive(serde::Serialize)]
struct TreeVmJson {
    vm: String,
    name: String,
    depths: Vec<u32>,
    /// Holds others up: it has no children, as far as the places allow.
    slow: bool,
    image: Option<ImageJson>,
}

/// One image on one VM in `-o json`.
#[derive(serde::Serialize)]
pub(crate) struct ImageJson {
    image: String,
    total_blocks: u32,
    stored_blocks: u32,
    stored_bytes: u64,
    touched_blocks: u32,
    touched_bytes: u64,
    origin_bytes: u64,
    peer_bytes_in: u64,
    peer_bytes_out: u64,
    corrupt_blocks: u64,
    complete: bool,
    complete_unix_us: i64,
}

impl From<&v1::Tree> for TreeJson {
    fn from(tree: &v1::Tree) -> Self {
        let epoch = tree.epoch.unwrap_or_default();
        let stripes = tree.stripes.iter().map(|stripe| StripeJson {
            root: stripe.root.clone(),
            height: stripe.height,
            edges: stripe
                .edges
                .iter()
                .map(|edge| EdgeJson { parent: edge.parent.clone(), child: edge.child.clone() })
                .collect(),
        });
        let vms = tree.vms.iter().map(|vm| TreeVmJson {
            vm: vm.vm.clone(),
            name: vm.name.clone(),
            depths: vm.depths.clone(),
            slow: vm.slow,
            image: vm.image.as_ref().map(ImageJson::from),
        });
        Self {
            function: tree.function.clone(),
            shape: shape_name(tree.shape()),
            mode: if tree.mode() == v1::Mode::Full { "full" } else { "lazy" },
            epoch: format!("{}.{}", epoch.term, epoch.counter),
            touched_blocks: tree.touched_blocks,
            touched_bytes: tree.touched_bytes,
            origin_bytes: tree.origin_bytes,
            profile: ProfileJson {
                starts: tree.profiled_starts,
                stored_bytes: tree.profile_bytes,
                blocks: tree.profile.clone(),
            },
            stripes: stripes.collect(),
            vms: vms.collect(),
        }
    }
}

impl From<&v1::ImageStatus> for ImageJson {
    fn from(image: &v1::ImageStatus) -> Self {
        Self {
            image: image.image.clone(),
            total_blocks: image.total_blocks,
            stored_blocks: image.stored_blocks,
            stored_bytes: image.stored_bytes,
            touched_blocks: image.touched_blocks,
            touched_bytes: image.touched_bytes,
            origin_bytes: image.origin_bytes,
            peer_bytes_in: image.peer_bytes_in,
            peer_bytes_out: image.peer_bytes_out,
            corrupt_blocks: image.corrupt_blocks,
            complete: image.complete,
            complete_unix_us: image.complete_unix_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let edge = |parent: &str, child: &str| v1::TreeEdge { parent: parent.into(), child: child.into() };
        let tree = v1::Tree {
            function: "py@1".into(),
            shape: v1::TreeShape::Avl.into(),
            epoch: Some(v1::Epoch { term: 1, counter: 3 }),
            stripes: vec![v1::TreeStripe {
                root: "vm-1".into(),
                height: 3,
                edges: vec![edge("vm-1", "vm-2"), edge("vm-1", "vm-3"), edge("vm-2", "vm-4")],
            }],
            profile: vec![0, 4],
            profile_bytes: 1_500,
            profiled_starts: 3,
            ..Default::default()
        };
        let expected = "py@1 · avl · 0 VMs · epoch 1.3\nstart-up profile: 2 blocks (1.5 kB) from 3 starts\nvm-1\n├─ vm-2\n│  └─ vm-4\n└─ vm-3";
        assert_eq!(draw(&tree), expected);
    }
}
