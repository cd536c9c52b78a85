use std::collections::BTreeSet;

use super::*;
use crate::ids::ContainerId;
use crate::session::Session;

const LEASE: Duration = Duration::from_secs(3);

/// A pool with so many connected VMs, and their sessions.
fn pool(count: u64, now: Now) -> (Pool, Vec<Arc<Session>>) {
    let pool = Pool::restore(Vec::new(), LEASE, LEASE, now);
    let mut sessions = Vec::new();
    for number in 1..=count {
        let vm = VmId(number);
        pool.put(
            vm,
            VmRecord { name: format!("host{number}"), public_key_sha256: [0; 32], draining: false },
            now,
        );
        let session = Session::detached(vm);
        connect(&pool, vm, &session, 1000, now);
        sessions.push(session);
    }
    (pool, sessions)
}

fn connect(pool: &Pool, vm: VmId, session: &Arc<Session>, port: u16, now: Now) -> Connected {
    let address = ([127, 0, 0, 1], port).into();
    let registration = v1::Registration::default();
    let endpoint = Endpoint::new(address, &registration);
    pool.connect(vm, &registration, endpoint, session, now).unwrap()
}

fn key(tenant: &str, image: &str) -> TreeKey {
    TreeKey { tenant: tenant.into(), image: Digest::of(image.as_bytes()) }
}

fn place(pool: &Pool, key: &TreeKey, count: u32, own: &[(u64, u32)]) -> Vec<u64> {
    let own = own.iter().map(|(vm, count)| (VmId(*vm), *count)).collect();
    let wanted = Wanted { key, count, own: &own, only: &BTreeSet::new(), suspects: false };
    pool.reserve(&wanted).unwrap().into_iter().map(|vm| vm.0).collect()
}

fn later(now: Now, span: Duration) -> Now {
    Now { instant: now.instant + span, ..now }
}

#[test]
fn vms_without_the_function_come_first_then_the_emptiest_then_the_lowest_number() {
    let (pool, _sessions) = pool(3, Now::read());
    let (a, b) = (key("t", "a"), key("t", "b"));
    assert_eq!(place(&pool, &a, 2, &[]), [1, 2]);
    assert_eq!(place(&pool, &b, 1, &[]), [3], "the emptiest");
    assert_eq!(place(&pool, &b, 1, &[(3, 1)]), [1], "equal load: the lowest number without it");
    assert_eq!(place(&pool, &b, 4, &[(1, 1), (3, 1)]), [2, 3, 1, 2], "evenly over all");
}

#[test]
fn a_vm_serves_one_tenant_at_a_time() {
    let (pool, _sessions) = pool(2, Now::read());
    let (ours, theirs) = (key("us", "a"), key("them", "a"));
    assert_eq!(place(&pool, &ours, 1, &[]), [1]);
    assert_eq!(place(&pool, &theirs, 2, &[]), [2, 2]);
    let container = ContainerId { term: 1, number: 1 };
    pool.apply(&ours, &Effects { ended: vec![(VmId(1), container)], ..Effects::default() });
    assert_eq!(place(&pool, &theirs, 1, &[(2, 2)]), [1], "free for anybody again");
}

#[test]
fn a_refused_placement_reserves_nothing() {
    let (pool, _sessions) = pool(1, Now::read());
    let only = [VmId(9)].into();
    let wanted =
        Wanted { key: &key("t", "a"), count: 1, own: &BTreeMap::new(), only: &only, suspects: false };
    assert!(matches!(pool.reserve(&wanted), Err(Refusal::NoVm(VmId(9)))));
    assert_eq!(pool.describe()[0].containers, 0);
}

#[test]
fn a_lease_ends_once_and_only_in_silence() {
    let now = Now::read();
    let (pool, sessions) = pool(2, now);
    place(&pool, &key("t", "a"), 2, &[]);
    let end = later(now, LEASE);
    pool.hear(VmId(1), &sessions[0], None, end);
    let lost = pool.expire(end.instant);
    assert_eq!(lost.iter().map(|lost| lost.vm).collect::<Vec<_>>(), [VmId(2)]);
    assert_eq!((lost[0].silent, lost[0].trees.len()), (LEASE, 1));
    assert!(pool.is_lost(VmId(2)) && pool.session(VmId(2)).is_none());
    assert!(pool.expire(end.instant).is_empty());
    // A former session's last words count for nothing.
    pool.hear(VmId(2), &sessions[1], None, end);
    assert!(pool.is_lost(VmId(2)));
}

#[test]
fn a_manager_that_stood_still_gives_everyone_a_new_lease() {
    let now = Now::read();
    let (pool, _sessions) = pool(1, now);
    let woken = later(now, 10 * LEASE);
    pool.extend_leases(woken.instant);
    assert!(pool.expire(woken.instant).is_empty());
    assert_eq!(pool.expire(later(woken, LEASE).instant).len(), 1);
}

#[test]
fn an_old_session_cannot_make_a_reconnected_vm_suspect() {
    let now = Now::read();
    let (pool, sessions) = pool(1, now);
    let fresh = Session::detached(VmId(1));
    assert!(!connect(&pool, VmId(1), &fresh, 1000, now).moved);
    pool.disconnect(VmId(1), &sessions[0]);
    assert_eq!(pool.describe()[0].state(), v1::VmState::Free);
    pool.disconnect(VmId(1), &fresh);
    assert_eq!(pool.describe()[0].state(), v1::VmState::Suspect);
    assert!(connect(&pool, VmId(1), &fresh, 1001, now).moved);
}

#[test]
fn vms_that_were_lost_long_ago_are_forgotten() {
    let now = Now::read();
    let (pool, _sessions) = pool(2, now);
    place(&pool, &key("t", "a"), 1, &[]);
    pool.expire(later(now, LEASE).instant);
    let day = Duration::from_secs(86_400);
    assert!(pool.forget_lost(day, later(now, day).instant).is_empty());
    let forgotten = pool.forget_lost(day, later(now, LEASE + 2 * day).instant);
    assert_eq!(forgotten, [VmId(2)].into(), "vm-1 still has a container to account for");
}
