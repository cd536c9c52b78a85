//! The same image by every way that skopeo and umoci know of giving it to us.

use std::fs;
use std::path::Path;

use ft_core::Digest;
use ft_image::config::RunConfig;
use tempfile::TempDir;

use crate::mounted::Mounted;
use crate::tools::{converted, sh};
use crate::tree::Tree;

/// An OCI layout `oci` with the image `v1` of two layers in `dir`.
pub(crate) fn small_image(dir: &Path) {
    sh(
        dir,
        r"
        umoci init --layout oci && umoci new --image oci:v1
        mkdir one two; mkdir one/etc; echo 'web:x:33:44::/:/bin/sh' > one/etc/passwd
        head -c 2000000 /dev/urandom > one/random; echo two > two/file; : > two/.wh.random2
        for layer in one two; do
            tar --format=pax -C $layer -cf layer.tar . && umoci raw add-layer --image oci:v1 layer.tar
        done
        umoci config --image oci:v1 --config.entrypoint /bin/app --config.cmd --flag --config.env A=b \
            --config.user web --config.workingdir /srv --config.label team=x
        ",
    );
}

#[test]
fn one_image_by_every_way_is_one_function_image() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    small_image(at);
    sh(
        at,
        r"
        skopeo copy --quiet oci:oci:v1 oci-archive:oci.tar:v1
        skopeo copy --quiet oci:oci:v1 docker-archive:docker.tar:app:v1
        gzip -k docker.tar; zstd -q oci.tar
        ",
    );
    let work = TempDir::new().unwrap();
    let digest = |source: &str| converted(&source.replace('@', at.to_str().unwrap()), work.path()).digest;
    let first: Digest = digest("oci:@/oci:v1");
    for source in [
        "oci:@/oci",
        "oci-archive:@/oci.tar",
        "oci-archive:@/oci.tar:v1",
        "oci-archive:@/oci.tar.zst",
        "docker-archive:@/docker.tar",
        "docker-archive:@/docker.tar:app:v1",
        "docker-archive:@/docker.tar.gz",
    ] {
        assert_eq!(digest(source), first, "{source}");
    }
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0, "nothing is left of the packs");
}

#[test]
fn the_run_configuration_is_the_images() {
    let dir = TempDir::new().unwrap();
    small_image(dir.path());
    let image = converted(&format!("oci:{}/oci:v1", dir.path().display()), dir.path());
    let config: RunConfig = serde_json::from_slice(&image.manifest.config).unwrap();
    assert_eq!(config.args, ["/bin/app", "--flag"]);
    assert!(config.env.contains(&"A=b".to_owned()), "{:?}", config.env);
    assert_eq!((config.user.uid, config.user.gid, config.cwd.as_str()), (33, 44, "/srv"));
    assert_eq!(config.labels["team"], "x");
}

#[test]
fn a_directory_is_kept_as_it_is() {
    let dir = TempDir::new().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    sh(&tree, crate::umoci::FIRST);
    let work = TempDir::new().unwrap();
    let image = converted(&format!("dir:{}", tree.display()), work.path());
    let ours = Tree::read(&Mounted::new(work, &image).root);
    Tree::read(&tree).assert_same(&ours);
    let again = TempDir::new().unwrap();
    assert_eq!(converted(&format!("dir:{}", tree.display()), again.path()).digest, image.digest);
}

#[test]
fn a_tar_file_of_a_directory_gives_the_directory() {
    let dir = TempDir::new().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    sh(&tree, crate::umoci::FIRST);
    for archive in [
        "tar --format=pax --xattrs --xattrs-include='*' -Sczf ../tree.tar .",
        // libarchive writes fractions of seconds before 1970 in a way of its own: -2.25 for -1.75.
        "touch -d 2001-01-01 etc/empty-file; bsdtar --format=pax --xattrs --acls --zstd -cf ../tree.tar .",
    ] {
        sh(&tree, archive);
        let judged = Tree::read(&tree);
        let work = TempDir::new().unwrap();
        let image = converted(&format!("tar:{}/tree.tar", dir.path().display()), work.path());
        judged.assert_same(&Tree::read(&Mounted::new(work, &image).root));
    }
}
