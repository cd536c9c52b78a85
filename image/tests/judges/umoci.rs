//! The kernel's view of our images against what umoci unpacks from the same OCI images.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::mounted::{self, Mounted};
use crate::tools::{converted, sh};
use crate::tree::Tree;

/// The first layer: one of everything.
pub(crate) const FIRST: &str = r"
    mkdir -p bin dev etc/sub lib/deep srv/opaque srv/removed empty
    head -c 300000 /dev/urandom > bin/tool; ln bin/tool bin/tool2; ln bin/tool lib/tool3
    chmod 4755 bin/tool; chmod 2755 lib; chmod 1777 empty; chmod 0 etc/sub
    printf hidden > srv/removed/x; printf old > srv/opaque/old; printf old > etc/replaced; mkdir etc/was-dir
    : > etc/empty-file; printf 'root:x:0:0::/root:/bin/sh\n' > etc/passwd
    mknod dev/null c 1 3; mknod dev/sda b 8 1; mknod dev/big c 259 70000; mkfifo -m 600 dev/fifo
    ln -s ../../../etc/passwd lib/up; ln -s /absolute bin/abs; ln -s missing bin/dangling
    chown 1234:70000 etc/empty-file; chown -h 5:6 bin/abs
    setfattr -n user.note -v 0x000a3dff etc/passwd; setfattr -n user.text -v hello lib
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 lib/tool3
    setfattr -n trusted.mine -v 1 lib/deep
    setfacl -m u:1000:rw,g:2000:r etc/passwd; setfacl -d -m u:1000:rwx etc/sub
    long=$(printf 'n%.0s' $(seq 200)); mkdir -p deep/$long/$long; printf deep > deep/$long/$long/$long
    ln -s $long/$long/$long/$long/$long deep/long-link; ln deep/$long/$long/$long deep/hard
    printf latin > $(printf 'etc/caf\351'); printf nl > 'etc/new
line'
    truncate -s 20M lib/sparse; printf x | dd of=lib/sparse bs=1 seek=9000000 conv=notrunc status=none
    truncate -s 5M lib/hole
    touch -d '1969-12-31 23:59:58.25 UTC' etc/empty-file; touch -h -d '2001-02-03 04:05:06.789 UTC' bin/abs
    touch -d '2038-02-01 00:00:00.000000001 UTC' bin/tool; touch -d '2200-01-01 UTC' lib/deep
";

/// The second: hides, replaces and changes. Whiteouts as archives have them.
const SECOND: &str = r"
    mkdir -p srv/opaque etc/replaced bin lib
    : > srv/.wh.removed; : > srv/opaque/.wh..wh..opq; printf new > srv/opaque/new
    printf below > etc/replaced/below; printf 'a file now' > etc/was-dir
    printf changed > bin/tool2; printf 'more' > lib/tool4; ln lib/tool4 bin/tool5; chmod 700 bin
    : > deep-not-there; rm deep-not-there
    touch -d '2020-01-01 00:00:00.5 UTC' bin lib etc etc/replaced srv srv/opaque
";

/// The third, on a name that the second hides, and with the hidden directory made anew.
const THIRD: &str = r"
    mkdir -p srv/removed etc; printf again > srv/removed/y; : > etc/.wh.empty-file
    touch -d '2021-01-01 UTC' srv srv/removed etc
";

/// An OCI image in `dir`, its layers archived by `archive` (a command with `$1` for the layer's number).
fn image(dir: &Path, archive: &str) -> PathBuf {
    sh(dir, "umoci init --layout oci && umoci new --image oci:v1");
    for (number, script) in [FIRST, SECOND, THIRD].iter().enumerate() {
        let folder = dir.join(format!("layer{number}"));
        std::fs::create_dir(&folder).unwrap();
        sh(&folder, script);
        sh(&folder, &format!("{archive} > ../layer.tar"));
        sh(dir, "umoci raw add-layer --image oci:v1 layer.tar");
    }
    sh(dir, "umoci config --image oci:v1 --config.cmd /bin/tool --config.user root --config.env A=b");
    dir.join("oci")
}

/// What umoci unpacks.
fn judged(dir: &Path) -> Tree {
    sh(dir, "umoci raw unpack --image oci:v1 rootfs");
    Tree::read(&dir.join("rootfs"))
}

fn mounted(layout: &Path) -> Mounted {
    let work = tempfile::tempdir().unwrap();
    let image = converted(&format!("oci:{}:v1", layout.display()), work.path());
    Mounted::new(work, &image)
}

/// `least` says how much of [`Tree::features`] the archiving program keeps.
fn assert_same(archive: &str, least: [usize; 3]) {
    let dir = TempDir::new().unwrap();
    let layout = image(dir.path(), archive);
    let (judged, ours) = (judged(dir.path()), Tree::read(&mounted(&layout).root));
    let features = judged.features();
    assert!(features.iter().zip(least).all(|(found, least)| *found >= least), "{features:?}");
    judged.assert_same(&ours);
}

#[test]
fn gnu_tar_in_pax_form() {
    assert_same("tar --format=pax --xattrs --xattrs-include='*' -Sc .", [3, 5, 30]);
}

#[test]
fn gnu_tar_in_pax_form_with_old_sparse_maps() {
    assert_same("tar --format=pax --sparse-version=0.1 --xattrs --xattrs-include='*' -Sc .", [3, 5, 30]);
}

#[test]
fn gnu_tar_in_its_own_form() {
    assert_same("tar --format=gnu -c .", [3, 0, 0]);
}

#[test]
fn python_tarfile() {
    assert_same(
        "python3 -c 'import tarfile, sys; tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\").add(\".\")'",
        [3, 0, 30],
    );
}

#[test]
fn layers_that_umoci_makes_itself() {
    let dir = TempDir::new().unwrap();
    sh(dir.path(), "umoci init --layout oci && umoci new --image oci:v1");
    for script in [FIRST, "rm -r srv/removed etc/replaced bin/tool; ln lib/tool3 bin/tool6; chmod 500 etc"] {
        sh(dir.path(), "rm -rf bundle && umoci unpack --image oci:v1 bundle");
        sh(&dir.path().join("bundle/rootfs"), script);
        sh(dir.path(), "umoci repack --image oci:v1 bundle");
    }
    let (judged, ours) = (judged(dir.path()), Tree::read(&mounted(&dir.path().join("oci")).root));
    judged.assert_same(&ours);
}

/// Half a gigabyte of Debian, Python and its libraries: `cargo xtask image` makes it.
#[test]
fn a_real_image() {
    let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-images/py");
    assert!(layout.exists(), "{} is missing: `cargo xtask test` makes it", layout.display());
    let dir = TempDir::new().unwrap();
    std::os::unix::fs::symlink(layout.canonicalize().unwrap(), dir.path().join("oci")).unwrap();
    let judged = judged(dir.path());
    let work = tempfile::tempdir().unwrap();
    let image = converted(&format!("oci:{}:v1", layout.display()), work.path());
    let (meta, data) = mounted::unpack(&image, work.path());
    sh(dir.path(), &format!("fsck.erofs --device={} {}", data.display(), meta.display()));
    let ours = Tree::read(&Mounted::new(work, &image).root);
    assert!(judged.len() > 10_000, "{judged:?}");
    judged.assert_same(&ours);
}
