//! Ordinary tools copy and list our artifacts: skopeo, between a layout and a registry.

use ft_blockstore::oci::RegistryOptions;
use ft_blockstore::{DirOrigin, Origin, RegistryOrigin};

use crate::tools::{Registry, Sample, run};

#[tokio::test]
async fn skopeo_copies_inspects_and_lists_a_function_image() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, copy) = (folder.path().join("ours"), folder.path().join("copy"));
    let origin = DirOrigin::open(&ours).unwrap();
    let image = Sample::new(1, 3);
    let name = "py-1".parse().unwrap();
    image.store(&origin).await;
    origin.publish(&name, &image.objects()).await.unwrap();
    let document = origin.artifact_bytes(&name).await.unwrap().unwrap();

    let registry = Registry::open();
    let layout = format!("oci:{}:py-1", ours.display());
    let remote = format!("docker://{}/team/py:v1", registry.host);
    skopeo(&["copy", "--insecure-policy", "--dest-tls-verify=false", &layout, &remote]);
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &remote]);
    assert_eq!(raw, document, "the document must not change on the way");
    let tags = skopeo(&["list-tags", "--tls-verify=false", remote.trim_end_matches(":v1")]);
    assert!(String::from_utf8_lossy(&tags).contains("\"v1\""));

    // What skopeo stored is an image to us, and what skopeo takes from there into a layout too.
    let reference = remote.trim_start_matches("docker://").parse().unwrap();
    let there = RegistryOrigin::new(&reference, &RegistryOptions::default()).unwrap();
    assert_eq!(there.resolve(&"v1".parse().unwrap()).await, Ok(Some(image.objects())));
    let back = format!("oci:{}:py-1", copy.display());
    skopeo(&["copy", "--insecure-policy", "--src-tls-verify=false", &remote, &back]);
    let back = DirOrigin::open(&copy).unwrap();
    assert_eq!(back.resolve(&name).await, Ok(Some(image.objects())));
    for pack in image.objects().packs {
        assert_eq!(back.size(&pack.digest).await, Ok(Some(pack.size)));
    }
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    run("skopeo", "skopeo", arguments).stdout
}
