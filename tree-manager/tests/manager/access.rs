//! Who gets in, and what they may do there.

use std::time::Duration;

use ft_identity::{CertificateAuthority, Identity, PrivateKey, Role};
use ft_proto::v1;
use ft_proto::v1::functions_client::FunctionsClient;
use ft_proto::v1::pool_client::PoolClient;
use ft_proto::v1::scheduler_client::SchedulerClient;
use ft_proto::v1::workers_client::WorkersClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::cluster::{Cluster, ORIGIN, create_request, mode, order};
use crate::worker::{Host, Worker};

#[tokio::test]
async fn the_first_start_leaves_credentials_that_nobody_else_can_read() {
    let cluster = Cluster::start().await;
    let json = cluster.admin_json();
    assert_eq!(json["manager"].as_str(), Some(cluster.manager.url()));
    assert_eq!(json["origin"].as_str(), Some(ORIGIN));
    let token = std::fs::read_to_string(cluster.dir.path().join("join-token")).unwrap();
    assert_eq!(token.trim(), cluster.manager.join_token().to_string());
    for file in ["admin.json", "join-token", "manager.redb"] {
        assert_eq!(mode(&cluster.dir.path().join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_join_gives_an_identity_that_works() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    assert_eq!((host.vm.as_str(), host.identity.uri().role()), ("vm-1", &Role::Vm(1)));
    let answer = &host.answer;
    assert_eq!((answer.origin_url.as_str(), answer.trust_domain.as_str()), (ORIGIN, "function-trees"));
    assert_eq!(answer.lease_ms, 600_000);
    let mut worker = host.connect(&cluster).await;
    worker.assert_quiet(&cluster).await;
    assert_eq!(Host::join(&cluster).await.vm, "vm-2");
}

#[tokio::test]
async fn joining_takes_a_valid_token() {
    let cluster = Cluster::start().await;
    let other = Cluster::start().await;
    let key = PrivateKey::generate().unwrap();
    let unknown = ft_identity::Token::generate(cluster.manager.join_token().ca_sha256).unwrap();
    let foreign = other.manager.join_token();
    for token in ["", "nonsense", &unknown.to_string(), &foreign.to_string()] {
        let status = Host::try_join(&cluster, token, &key, "").await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{token}: {status}");
    }
}

#[tokio::test]
async fn a_token_expires() {
    let cluster = Cluster::start().await;
    let request = v1::CreateJoinTokenRequest { ttl_s: 1 };
    let token = cluster.pool().await.create_join_token(request).await.unwrap().into_inner().token;
    let key = PrivateKey::generate().unwrap();
    crate::cluster::eventually("the token has expired", async || {
        match Host::try_join(&cluster, &token, &key, "").await {
            Ok(_) => false,
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated, "{status}");
                true
            }
        }
    })
    .await;
    let lasting = cluster.pool().await.create_join_token(v1::CreateJoinTokenRequest { ttl_s: 0 }).await;
    Host::try_join(&cluster, &lasting.unwrap().into_inner().token, &key, "").await.unwrap();
}

#[tokio::test]
async fn a_host_joins_again_as_the_vm_whose_key_it_has() {
    let cluster = Cluster::start().await;
    let token = cluster.manager.join_token().to_string();
    let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    assert_eq!(Host::try_join(&cluster, &token, &key, "").await.unwrap().vm, "vm-1");
    assert_eq!(Host::try_join(&cluster, &token, &key, "vm-1").await.unwrap().vm, "vm-1");
    assert_eq!(Host::try_join(&cluster, &token, &key, "").await.unwrap().vm, "vm-1", "a repeated call");
    let status = Host::try_join(&cluster, &token, &other, "vm-1").await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let status = Host::try_join(&cluster, &token, &other, "the-other-one").await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // A VM that this manager has never heard of is as good as none.
    assert_eq!(Host::try_join(&cluster, &token, &other, "vm-77").await.unwrap().vm, "vm-2");
}

#[tokio::test]
async fn certificates_are_renewed_for_workers_alone() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let key = PrivateKey::generate().unwrap();
    let request = v1::RenewRequest { csr_der: key.signing_request().unwrap() };
    let chain =
        host.client(&cluster).await.renew(request.clone()).await.unwrap().into_inner().certificate_chain_der;
    let renewed = Identity::new(chain.into_iter().map(Into::into).collect(), key.clone()).unwrap();
    assert_eq!(renewed.uri(), host.identity.uri());
    Host { identity: renewed, ..host.clone() }.connect(&cluster).await;
    // The new key is the one that counts from now on.
    let token = cluster.manager.join_token().to_string();
    assert_eq!(Host::try_join(&cluster, &token, &key, &host.vm).await.unwrap().vm, host.vm);
    let mut bad = host.client(&cluster).await;
    let status = bad.renew(v1::RenewRequest { csr_der: b"x".to_vec() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let admin = cluster.admin().await;
    let status = WorkersClient::new(admin).renew(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

/// What a caller is told by three calls: an admin's, a client's, a worker's.
async fn rights(channel: Channel) -> [Code; 3] {
    let code = |outcome: Result<(), Status>| outcome.err().map_or(Code::Ok, |status| status.code());
    let mut pool = PoolClient::new(channel.clone());
    let mut functions = FunctionsClient::new(channel.clone());
    let mut workers = WorkersClient::new(channel);
    let image = format!("sha256:{}", "0".repeat(64));
    [
        code(pool.list_vms(v1::ListVmsRequest {}).await.map(drop)),
        code(functions.list_functions(v1::ListFunctionsRequest::default()).await.map(drop)),
        code(workers.get_manifest(v1::GetManifestRequest { image }).await.map(drop)),
    ]
}

#[tokio::test]
async fn each_role_has_its_rights() {
    let cluster = Cluster::start().await;
    let vm = Host::join(&cluster).await;
    let tenant = create_client_token(&cluster, v1::ClientRole::Tenant, "acme").await;
    let admin = create_client_token(&cluster, v1::ClientRole::Admin, "ops").await;
    let denied = Code::PermissionDenied;
    assert_eq!(rights(cluster.admin().await).await, [Code::Ok, Code::Ok, denied]);
    assert_eq!(rights(cluster.channel(Some(vm.identity)).await).await, [denied, denied, Code::NotFound]);
    let nobody = Code::Unauthenticated;
    assert_eq!(rights(cluster.channel(None).await).await, [nobody, nobody, nobody]);

    let list = |token: &str| with_token(v1::ListVmsRequest {}, token);
    let mut pool = PoolClient::new(cluster.channel(None).await);
    pool.list_vms(list(&admin)).await.unwrap();
    assert_eq!(pool.list_vms(list(&tenant)).await.unwrap_err().code(), denied);
    let join = cluster.manager.join_token().to_string();
    assert_eq!(pool.list_vms(list(&join)).await.unwrap_err().code(), denied, "a join token is for joining");
    let key = PrivateKey::generate().unwrap();
    let status = Host::try_join(&cluster, &tenant, &key, "").await.err().unwrap();
    assert_eq!(status.code(), denied, "a tenant's token is not for joining");
}

#[tokio::test]
async fn a_tenant_sees_and_touches_its_own_alone() {
    let cluster = Cluster::start().await;
    let _worker = Worker::new(&cluster).await.obey();
    cluster.create_function("py", "a").await;
    let token = create_client_token(&cluster, v1::ClientRole::Tenant, "acme").await;
    let channel = cluster.channel(None).await;
    let (mut functions, mut scheduler) =
        (FunctionsClient::new(channel.clone()), SchedulerClient::new(channel.clone()));
    let own =
        functions.create_function(with_token(create_request("own", "b"), &token)).await.unwrap().into_inner();
    assert_eq!(own.tenant, "acme");
    let list = with_token(v1::ListFunctionsRequest::default(), &token);
    let listed = functions.list_functions(list).await.unwrap().into_inner().functions;
    assert_eq!(listed.iter().map(|function| function.name.as_str()).collect::<Vec<_>>(), ["own"]);

    let status = scheduler.provision(with_token(order("py", 1), &token)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let other = v1::ProvisionRequest { tenant: "default".into(), ..order("py", 1) };
    let status = scheduler.provision(with_token(other, &token)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");

    // The admin's container is on the only VM: another tenant gets no place there, and no command into it.
    crate::cluster::all(cluster.provision(order("py", 1)).await).await;
    let status = scheduler.provision(with_token(order("own", 1), &token)).await.unwrap_err();
    assert!(status.message().contains("serving another tenant"), "{status}");
    let container = cluster.containers("py").await.remove(0).container;
    let exec = v1::ExecContainerRequest { container, args: vec!["id".into()], ..Default::default() };
    let status = scheduler.exec_container(with_token(exec, &token)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let list = with_token(v1::ListContainersRequest::default(), &token);
    assert!(scheduler.list_containers(list).await.unwrap().into_inner().containers.is_empty());
}

#[tokio::test]
async fn a_worker_gets_the_manifests_that_its_vm_needs() {
    let cluster = Cluster::start().await;
    let host = Host::join(&cluster).await;
    let mut worker = host.connect(&cluster).await;
    let image = cluster.create_function("py", "a").await.image;
    let request = v1::GetManifestRequest { image };
    let mut client = host.client(&cluster).await;
    assert_eq!(client.get_manifest(request.clone()).await.unwrap_err().code(), Code::NotFound);
    let _events = cluster.provision(order("py", 1)).await;
    worker.follow().await;
    let manifest = client.get_manifest(request).await.unwrap().into_inner().manifest;
    assert_eq!(manifest, crate::cluster::manifest("a").encode());
}

#[tokio::test]
async fn strangers_certificates_are_worth_nothing() {
    let cluster = Cluster::start().await;
    let stranger = CertificateAuthority::generate("function-trees").unwrap();
    let forged = stranger.issue_identity(Role::Admin("admin".into()), &[], Duration::from_secs(60)).unwrap();
    let mut pool = PoolClient::new(cluster.channel(Some(forged)).await);
    assert_eq!(pool.list_vms(v1::ListVmsRequest {}).await.unwrap_err().code(), Code::Unknown);
}

#[tokio::test]
async fn anybody_may_ask_for_health_and_the_schema() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let cluster = Cluster::start().await;
    let channel = cluster.channel(None).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "ft.v1.Functions", "ft.v1.Scheduler", "ft.v1.Pool", "ft.v1.Workers"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "ft.v1.Scheduler"));
}

async fn create_client_token(cluster: &Cluster, role: v1::ClientRole, name: &str) -> String {
    let request = v1::CreateClientTokenRequest { role: role.into(), name: name.into(), ttl_s: 0 };
    cluster.pool().await.create_client_token(request).await.unwrap().into_inner().token
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
