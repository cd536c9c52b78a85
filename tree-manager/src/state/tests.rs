use super::record::{
    ContainerSpec, Distribution, FunctionKey, FunctionRecord, StartRecord, TokenRecord, TokenUse, VmRecord,
};
use super::*;
use crate::ids::{ContainerId, TreeKey};
use crate::state::record::ContainerRecord;
use ft_core::VmId;

fn function() -> (FunctionKey, FunctionRecord) {
    let key = FunctionKey { tenant: "default".into(), name: "py".into(), version: 1 };
    let record = FunctionRecord {
        image: Digest::of(b"manifest"),
        packs: vec![Digest::of(b"pack")],
        origin: "dir:/origin".into(),
        source: "dir:/src".into(),
        image_bytes: 10,
        stored_bytes: 5,
        blocks: 1,
        created_unix_us: 7,
    };
    (key, record)
}

fn container() -> (ContainerId, ContainerRecord) {
    let record = ContainerRecord {
        function: function().0,
        vm: 3,
        spec: ContainerSpec { env: vec!["A=B".into()], ..ContainerSpec::default() },
        distribution: Distribution { mode: 1, shape: 2 },
        idempotency_key: "once".into(),
        replaces: Some((1, 8)),
        attempt: 1,
        placed_unix_us: 5,
    };
    (ContainerId { term: 1, number: 9 }, record)
}

#[tokio::test]
async fn everything_survives_a_restart_and_the_term_grows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, first) = Store::open(dir.path()).unwrap();
    assert_eq!((first.term, first.next_vm), (1, 1));
    let vm = VmRecord { name: "host".into(), public_key_sha256: [1; 32], draining: true };
    let token = TokenRecord { purpose: TokenUse::Tenant("acme".into()), expires_unix: Some(5) };
    let ((key, record), (id, wanted)) = (function(), container());
    let image = TreeKey { tenant: "default".into(), image: record.image };
    let start = StartRecord { vm: 4, blocks: vec![7, 1] };
    store
        .write(vec![
            Write::Authority { certificate: "CERT".into(), key: "KEY".into() },
            Write::Vm(VmId(4), vm.clone()),
            Write::NextVm(5),
            Write::Token([2; 32], token.clone()),
            Write::Function(key.clone(), record.clone(), b"manifest".to_vec()),
            Write::Container(id, wanted.clone()),
            Write::Starts(image.clone(), vec![start.clone()]),
        ])
        .await
        .unwrap();
    store.close().await;

    let (store, second) = Store::open(dir.path()).unwrap();
    assert_eq!((second.term, second.next_vm), (2, 5));
    assert_eq!(second.authority, Some(("CERT".into(), "KEY".into())));
    assert_eq!(second.vms, [(4, vm)]);
    assert_eq!(second.tokens, [([2; 32], token)]);
    assert_eq!(second.functions, [(key.clone(), record.clone())]);
    assert_eq!(second.versions, [(("default".into(), "py".into()), 1)]);
    assert_eq!(second.containers, [(id, wanted)]);
    assert_eq!(second.starts, [(image.clone(), vec![start])]);
    assert_eq!(store.manifest(record.image).await.unwrap().unwrap(), b"manifest");

    store
        .write(vec![
            Write::ForgetVm(VmId(4)),
            Write::ForgetToken([2; 32]),
            Write::ForgetFunction(key),
            Write::ForgetManifest(record.image),
            Write::ForgetContainer(id),
            Write::ForgetStarts(image),
        ])
        .await
        .unwrap();
    store.close().await;
    let (store, third) = Store::open(dir.path()).unwrap();
    assert!(third.vms.is_empty() && third.tokens.is_empty() && third.functions.is_empty());
    assert!(third.containers.is_empty() && third.starts.is_empty());
    assert_eq!(third.versions.len(), 1, "a version number is never given out twice");
    assert!(store.manifest(record.image).await.unwrap().is_none());
}

#[tokio::test]
async fn a_manifest_stays_while_a_function_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let (key, record) = function();
    let again = FunctionKey { version: 2, ..key.clone() };
    let image = record.image;
    store
        .write(vec![
            Write::Function(key.clone(), record.clone(), b"manifest".to_vec()),
            Write::Function(again.clone(), record, b"manifest".to_vec()),
            Write::ForgetFunction(key),
            Write::ForgetManifest(image),
        ])
        .await
        .unwrap();
    assert!(store.manifest(image).await.unwrap().is_some());
    store.write(vec![Write::ForgetFunction(again), Write::ForgetManifest(image)]).await.unwrap();
    assert!(store.manifest(image).await.unwrap().is_none());
}

#[tokio::test]
async fn a_second_manager_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StateError::InUse { .. })));
}

#[tokio::test]
async fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap().0.close().await;
    let database = Database::create(dir.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(tables::COUNTERS).unwrap().insert("format", FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Store::open(dir.path()), Err(StateError::Format { found }) if found == FORMAT + 1));
}

#[tokio::test]
async fn nobody_else_can_read_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let _store = Store::open(&state).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
}

#[tokio::test]
async fn a_closed_state_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.close().await;
    assert!(matches!(store.write(Vec::new()).await, Err(StateError::Closed)));
    assert!(matches!(store.manifest(Digest::of(b"")).await, Err(StateError::Closed)));
}
