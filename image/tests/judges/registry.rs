//! `docker://` against Debian's docker-registry on loopback, with images that skopeo pushed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ft_blockstore::oci::RegistryOptions;
use ft_core::Digest;
use ft_image::Error;
use ft_image::builder::Converted;
use ft_image::source::{OpenOptions, Platform};
use tempfile::TempDir;

use crate::sources::small_image;
use crate::tools::{convert_with, converted, sh};

/// A registry of one's own; it ends when dropped.
struct Registry {
    process: Child,
    port: u16,
    dir: TempDir,
}

impl Registry {
    /// Starts a registry. With `users`, an htpasswd file's lines, it wants a password.
    fn start(users: Option<&str>) -> Self {
        let dir = TempDir::new().unwrap();
        let mut auth = String::new();
        if let Some(users) = users {
            fs::write(dir.path().join("htpasswd"), users).unwrap();
            auth = format!("auth: {{htpasswd: {{realm: r, path: {}/htpasswd}}}}\n", dir.path().display());
        }
        // Some other program may take the port before the registry does; it then ends at once.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n{auth}",
                dir.path().display()
            );
            fs::write(dir.path().join("config.yml"), config).unwrap();
            let mut command = Command::new("docker-registry");
            command.args(["serve", "config.yml"]).current_dir(dir.path());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut process =
                command.spawn().expect("docker-registry is missing: `cargo xtask test` installs it");
            if answers(port, &mut process) {
                return Self { process, port, dir };
            }
        }
        panic!("the registry does not start");
    }

    /// `docker://` for an image here.
    fn source(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a script in `at`, with the registry's host and port as `$R`.
    fn sh(&self, at: &Path, script: &str) {
        sh(at, &format!("R=127.0.0.1:{}; {script}", self.port));
    }

    /// The file in which a blob is kept.
    fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex().to_string();
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Waits until something listens on the port, or the process has ended.
fn answers(port: u16, process: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Options without this host's own credentials.
fn anonymous(dir: &Path) -> OpenOptions {
    let registry =
        RegistryOptions { docker_config: Some(dir.join("config.json")), ..RegistryOptions::default() };
    OpenOptions { registry, ..OpenOptions::default() }
}

fn pulled(source: &str, open: &OpenOptions) -> Result<(TempDir, Converted), Error> {
    let work = TempDir::new().unwrap();
    let image = convert_with(source, open.clone(), work.path())?;
    Ok((work, image))
}

#[test]
fn gzip_layers_in_both_kinds_of_manifest() {
    let (registry, dir) = (Registry::start(None), TempDir::new().unwrap());
    small_image(dir.path());
    registry.sh(
        dir.path(),
        r"
        push='skopeo copy --quiet --dest-tls-verify=false'
        $push oci:oci:v1 docker://$R/team/app:oci
        $push --format v2s2 oci:oci:v1 docker://$R/team/app:docker
        skopeo inspect --raw --tls-verify=false docker://$R/team/app:docker | grep -q docker.distribution
        ",
    );
    let expected = converted(&format!("oci:{}/oci:v1", dir.path().display()), dir.path()).digest;
    for tag in ["oci", "docker"] {
        let (_work, image) =
            pulled(&registry.source(&format!("team/app:{tag}")), &anonymous(dir.path())).unwrap();
        assert_eq!(image.digest, expected, "{tag}");
    }
}

#[test]
fn zstd_layers() {
    let (registry, dir) = (Registry::start(None), TempDir::new().unwrap());
    small_image(dir.path());
    registry.sh(
        dir.path(),
        r"
        skopeo copy --quiet --dest-decompress oci:oci:v1 dir:plain
        skopeo copy --quiet --dest-tls-verify=false --format oci --dest-compress-format zstd \
            dir:plain docker://$R/app:v1
        skopeo inspect --raw --tls-verify=false docker://$R/app:v1 | grep -q tar+zstd
        ",
    );
    let (_work, image) = pulled(&registry.source("app:v1"), &anonymous(dir.path())).unwrap();
    let expected = converted(&format!("oci:{}/oci:v1", dir.path().display()), dir.path());
    assert_eq!(image.digest, expected.digest);
}

#[test]
fn the_platform_is_chosen_and_digests_are_references() {
    let (registry, dir) = (Registry::start(None), TempDir::new().unwrap());
    let at = dir.path();
    sh(
        at,
        r"
        for arch in amd64 arm64; do
            umoci init --layout $arch; umoci new --image $arch:v1; mkdir $arch.d; echo $arch > $arch.d/arch
            tar -C $arch.d -cf layer.tar . && umoci raw add-layer --image $arch:v1 layer.tar
            umoci config --image $arch:v1 --architecture $arch --os linux
        done
        ",
    );
    // skopeo makes no lists, but copies them.
    let layout = at.join("both");
    sh(at, "mkdir -p both; cp -r amd64/. both; cp -r arm64/blobs both");
    let manifests = ["arm64", "amd64"].map(|architecture| {
        let index = fs::read(at.join(architecture).join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let mut manifest = index["manifests"][0].clone();
        manifest["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        manifest["annotations"] = serde_json::Value::Null;
        manifest
    });
    let list = serde_json::json!({"schemaVersion": 2, "manifests": manifests,
        "mediaType": "application/vnd.oci.image.index.v1+json"});
    let list = list.to_string();
    let digest = Digest::of(list.as_bytes());
    fs::write(layout.join("blobs/sha256").join(digest.hex().to_string()), &list).unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{"size": list.len(),
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.to_string()}]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    registry.sh(at, "skopeo copy --quiet --all --dest-tls-verify=false oci:both docker://$R/both:v1");

    for architecture in ["amd64", "arm64"] {
        let platform: Platform = format!("linux/{architecture}").parse().unwrap();
        let open = OpenOptions { platform, ..anonymous(at) };
        let local =
            convert_with(&format!("oci:{}", at.join(architecture).display()), open.clone(), at).unwrap();
        for reference in ["both:v1".to_owned(), format!("both@{digest}")] {
            let (_work, image) = pulled(&registry.source(&reference), &open).unwrap();
            assert_eq!(image.digest, local.digest, "{architecture} {reference}");
        }
    }
    let open = OpenOptions { platform: "linux/s390x".parse().unwrap(), ..anonymous(at) };
    let error = pulled(&registry.source("both:v1"), &open).unwrap_err().to_string();
    assert!(error.contains("no image for linux/s390x; it has: linux/arm64, linux/amd64"), "{error}");
}

#[test]
fn a_password_is_asked_for_and_found() {
    let users = Command::new("htpasswd").args(["-Bbn", "ann", "secret"]).output();
    let users = users.expect("htpasswd is missing: `cargo xtask test` installs it").stdout;
    let registry = Registry::start(Some(&String::from_utf8(users).unwrap()));
    let dir = TempDir::new().unwrap();
    small_image(dir.path());
    registry.sh(
        dir.path(),
        "skopeo copy --quiet --dest-creds ann:secret --dest-tls-verify=false oci:oci:v1 docker://$R/app:v1",
    );
    let source = registry.source("app:v1");
    let log_in = |password: &str| {
        let login = format!("skopeo login --tls-verify=false --authfile config.json -u ann -p {password} $R");
        registry.sh(dir.path(), &login);
    };
    let refused = pulled(&source, &anonymous(dir.path())).unwrap_err().to_string();
    assert!(refused.contains("docker login"), "{refused}");
    log_in("secret");
    let (_work, image) = pulled(&source, &anonymous(dir.path())).unwrap();
    let expected = converted(&format!("oci:{}/oci:v1", dir.path().display()), dir.path());
    assert_eq!(image.digest, expected.digest);
    // `ann:wrong`
    let config = format!(r#"{{"auths": {{"127.0.0.1:{}": {{"auth": "YW5uOndyb25n"}}}}}}"#, registry.port);
    fs::write(dir.path().join("config.json"), config).unwrap();
    let refused = pulled(&source, &anonymous(dir.path())).unwrap_err().to_string();
    assert!(refused.contains("refused the password of user ann"), "{refused}");
}

#[test]
fn a_registry_that_lost_or_damaged_a_layer() {
    let (registry, dir) = (Registry::start(None), TempDir::new().unwrap());
    small_image(dir.path());
    registry.sh(dir.path(), "skopeo copy --quiet --dest-tls-verify=false oci:oci:v1 docker://$R/app:v1");
    let source = registry.source("app:v1");
    let raw = sh(
        dir.path(),
        &format!("skopeo inspect --raw --tls-verify=false docker://127.0.0.1:{}/app:v1", registry.port),
    );
    let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let sound = fs::read(registry.blob(&layer)).unwrap();
    let failed = || pulled(&source, &anonymous(dir.path())).unwrap_err().to_string();

    let mut damaged = sound.clone();
    damaged[100_000] ^= 1;
    fs::write(registry.blob(&layer), &damaged).unwrap();
    let error = failed();
    assert!(error.starts_with(&format!("layer {layer}")) && error.contains("the bytes hash to"), "{error}");

    fs::write(registry.blob(&layer), &sound[..sound.len() / 2]).unwrap();
    let error = failed();
    assert!(error.starts_with(&format!("layer {layer}")), "{error}");

    fs::remove_file(registry.blob(&layer)).unwrap();
    let error = failed();
    assert!(error.contains(&layer.to_string()) && error.contains("does not exist"), "{error}");

    let missing = pulled(&registry.source("app:v2"), &anonymous(dir.path())).unwrap_err().to_string();
    assert!(missing.contains("manifest v2") && missing.contains("does not exist"), "{missing}");
}

#[test]
fn a_registry_that_is_not_there() {
    let dir = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = pulled(&format!("docker://127.0.0.1:{port}/app:v1"), &anonymous(dir.path())).unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}
