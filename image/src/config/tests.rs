use std::io::Read;

use super::*;
use crate::entry::{Entry, EntryKind, LayerSink, Meta};
use crate::source::testing::Collect;

fn image(json: &str) -> ImageConfig {
    serde_json::from_str(json).unwrap()
}

fn accounts(files: &[(&str, &str)]) -> Accounts {
    let mut accounts = Accounts::default();
    let mut collect = Collect::default();
    for (path, text) in files {
        let kind = EntryKind::dense_file(text.len() as u64);
        let entry = Entry { path: path.as_bytes().to_vec(), meta: Meta::default(), kind };
        AccountsSink::new(&mut collect, &mut accounts).entry(&entry, &mut text.as_bytes()).unwrap();
    }
    for ((path, text), (entry, data)) in files.iter().zip(&collect.0) {
        assert_eq!((path.as_bytes(), text.as_bytes()), (&*entry.path, &**data), "passed on");
    }
    accounts
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbroken\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:web,root\n";

#[test]
fn what_an_image_says() {
    let image = image(
        r#"{"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [], "type": "layers"},
            "config": {"User": "web:staff", "Env": ["A=1", "PATH=/bin"], "Entrypoint": ["/e"], "Cmd": ["c"],
                "WorkingDir": "srv", "Labels": {"l": "1"}, "StopSignal": "TERM",
                "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 3}}}"#,
    );
    let accounts = accounts(&[("etc/passwd", PASSWD), ("etc/group", GROUP)]);
    let config = RunConfig::new(Some(&image), &RunOverrides::default(), &accounts).unwrap();
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "args": ["/e", "c"], "env": ["PATH=/bin", "A=1"], "cwd": "/srv", "user": {"uid": 33, "gid": 50},
            "check": {"exec": {"args": ["/bin/sh", "-c", "curl x"]}}, "labels": {"l": "1"}
        })
    );
    assert_eq!(serde_json::from_value::<RunConfig>(json).unwrap(), config);
    assert_eq!(image.platform().unwrap().to_string(), "linux/arm64");
}

#[test]
fn nulls_and_nothing_mean_defaults() {
    let image = image(r#"{"config": {"Cmd": null, "Env": null}, "rootfs": {"diff_ids": null}}"#);
    for image in [Some(&image), None] {
        let config = RunConfig::new(image, &RunOverrides::default(), &Accounts::default()).unwrap();
        assert_eq!(config.args, [""; 0]);
        assert_eq!(config.env, [DEFAULT_PATH]);
        assert_eq!((config.cwd.as_str(), config.user, config.check), ("/", User::default(), None));
    }
}

#[test]
fn overrides_win() {
    let image = image(
        r#"{"config": {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=1", "B=2"],
            "Healthcheck": {"Test": ["CMD", "x"]}}, "rootfs": {"diff_ids": []}}"#,
    );
    let overrides = RunOverrides {
        args: Some(vec!["/other".into()]),
        env: vec!["A=3=4".into(), "C=".into()],
        user: Some("7".into()),
        check: Some(Some(Check::Http { port: 8080, path: "/".into() })),
        ..RunOverrides::default()
    };
    let config = RunConfig::new(Some(&image), &overrides, &Accounts::default()).unwrap();
    assert_eq!(config.args, ["/other"]);
    assert_eq!(config.env[1..], ["A=3=4", "B=2", "C="]);
    assert_eq!(config.user, User { uid: 7, gid: 0 });
    assert_eq!(config.check, Some(Check::Http { port: 8080, path: "/".into() }));
    let none = RunOverrides { check: Some(None), ..RunOverrides::default() };
    assert_eq!(RunConfig::new(Some(&image), &none, &Accounts::default()).unwrap().check, None);
    let bad = RunOverrides { env: vec!["=x".into()], ..RunOverrides::default() };
    assert!(RunConfig::new(Some(&image), &bad, &Accounts::default()).is_err());
}

#[test]
fn users_and_groups() {
    let accounts = accounts(&[("etc/passwd", PASSWD), ("etc/group", GROUP)]);
    let resolve = |text: &str| accounts.resolve(text).map(|user| (user.uid, user.gid)).ok();
    assert_eq!(resolve(""), Some((0, 0)));
    assert_eq!(resolve("web"), Some((33, 34)));
    assert_eq!(resolve("33"), Some((33, 34)), "a number's primary group");
    assert_eq!(resolve("web:staff"), Some((33, 50)));
    assert_eq!(resolve("web:7"), Some((33, 7)));
    assert_eq!(resolve("1000"), Some((1000, 0)));
    assert_eq!(resolve("1000:1000"), Some((1000, 1000)));
    assert_eq!(resolve("nobody"), None);
    assert_eq!(resolve("web:nobody"), None);
    assert_eq!(resolve("4294967296"), None);
}

#[test]
fn later_layers_replace_and_remove_account_files() {
    let later = accounts(&[("etc/passwd", PASSWD), ("etc/passwd", "web:x:1:1::/:")]);
    assert_eq!(later.resolve("web").unwrap().uid, 1);
    for whiteout in ["etc/.wh.passwd", ".wh.etc", "etc/.wh..wh..opq", "etc"] {
        let removed = accounts(&[("etc/passwd", PASSWD), (whiteout, "")]);
        assert!(removed.resolve("web").is_err(), "{whiteout}");
    }
}

#[test]
fn a_layer_hides_only_what_is_below() {
    let mut accounts = Accounts::default();
    let mut collect = Collect::default();
    let mut sink = AccountsSink::new(&mut collect, &mut accounts);
    for (path, text) in [("etc/passwd", PASSWD), ("etc/.wh..wh..opq", "")] {
        let kind = EntryKind::dense_file(text.len() as u64);
        let entry = Entry { path: path.as_bytes().to_vec(), meta: Meta::default(), kind };
        sink.entry(&entry, &mut text.as_bytes()).unwrap();
    }
    assert_eq!(accounts.resolve("web").unwrap().uid, 33);
}

#[test]
fn large_account_files_pass_through_unread() {
    struct Count(u64);
    impl LayerSink for Count {
        fn entry(&mut self, _: &Entry, data: &mut dyn Read) -> Result<(), Error> {
            self.0 += std::io::copy(data, &mut std::io::sink()).unwrap();
            Ok(())
        }
    }
    let size = 3 << 20;
    let entry =
        Entry { path: b"etc/passwd".to_vec(), meta: Meta::default(), kind: EntryKind::dense_file(size) };
    let (mut count, mut accounts) = (Count(0), Accounts::default());
    AccountsSink::new(&mut count, &mut accounts)
        .entry(&entry, &mut std::io::repeat(b'x').take(size))
        .unwrap();
    assert_eq!(count.0, size);
    assert!(accounts.resolve("web").is_err());
}
