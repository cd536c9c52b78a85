//! Debian's docker-registry on the loopback address of one host.

use std::process::{Child, Command, Stdio};

use crate::cluster::Cluster;

/// A registry on 127.0.0.1:5000 of the cluster's host 0; it ends with this value.
pub(crate) struct Registry {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts an empty registry and waits until it answers.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:5000\"}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut command = cluster.host().command("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry (Debian's package: run `cargo xtask test`)");
        let registry = Self { child, _dir: dir };
        cluster.wait_for("the registry", |cluster| {
            let mut probe = cluster.host().command("bash");
            probe.args(["-c", "exec 3<>/dev/tcp/127.0.0.1/5000"]).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        });
        registry
    }

    /// Pushes an image with skopeo.
    pub(crate) fn push(&self, cluster: &Cluster, from: &str, to: &str) {
        let mut command: Command = cluster.host().command("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", from, to]);
        let output = command.output().expect("skopeo (Debian's package: run `cargo xtask test`)");
        assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
