//! The registry client against Debian's docker-registry.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use ft_blockstore::BlobSource;
use ft_blockstore::oci::{PlainHttp, Reference, RegistryClient, RegistryError, RegistryOptions};
use ft_core::Digest;
use futures_util::TryStreamExt;

use crate::tools::{PASSWORD, Registry, noise};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn client(registry: &Registry, options: &RegistryOptions) -> RegistryClient {
    let reference: Reference = format!("{}/team/py:v1", registry.host).parse().unwrap();
    RegistryClient::new(&reference, options).unwrap()
}

fn with_password(registry: &Registry, password: &str) -> RegistryOptions {
    RegistryOptions { docker_config: Some(registry.docker_config(password)), ..RegistryOptions::default() }
}

#[tokio::test]
async fn blobs_come_back_whole_and_in_part() {
    let registry = Registry::open();
    let client = client(&registry, &RegistryOptions::default());
    let data = noise(0, 3 << 20);
    let digest = Digest::of(&data);
    assert_eq!(client.blob_size(&digest).await, Ok(None));

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    client.push_blob(&digest, &BlobSource::File(Arc::new(file))).await.unwrap();
    client.push_blob(&digest, &BlobSource::Bytes(data.clone())).await.unwrap();
    assert_eq!(client.blob_size(&digest).await, Ok(Some(data.len() as u64)));

    let whole: Vec<Bytes> = client.blob_stream(&digest, data.len() as u64).try_collect().await.unwrap();
    assert!(whole.concat() == data, "the whole blob differs");
    let part: Vec<Bytes> = client.blob_range(&digest, 1_000_000..1_500_000).try_collect().await.unwrap();
    assert!(part.concat() == data[1_000_000..1_500_000], "the part differs");
}

#[tokio::test]
async fn a_manifest_keeps_its_bytes_and_its_digest() {
    let registry = Registry::open();
    let client = client(&registry, &RegistryOptions::default());
    let config = Bytes::from_static(b"{}");
    client.push_blob(&Digest::of(&config), &BlobSource::Bytes(config.clone())).await.unwrap();
    // Odd spaces and an unknown type: a client that parses and prints it again would change them.
    let text = format!(
        r#"{{ "schemaVersion": 2,  "mediaType": "{OCI_MANIFEST}", "artifactType": "application/x.y",
           "config": {{"mediaType": "application/x.config", "digest": "{}", "size": 2}}, "layers": [] }}"#,
        Digest::of(&config)
    );
    let bytes = Bytes::from(text);
    let digest = client.push_manifest("v1", OCI_MANIFEST, bytes.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    for reference in ["v1".to_owned(), digest.to_string()] {
        let manifest = client.manifest(&reference, &[OCI_MANIFEST]).await.unwrap();
        assert_eq!((manifest.bytes, manifest.digest), (bytes.clone(), digest));
        assert_eq!(manifest.media_type, OCI_MANIFEST);
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    let registry = Registry::open();
    let client = client(&registry, &RegistryOptions::default());
    let error = client.manifest("v9", &[OCI_MANIFEST]).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::NotFound { what } if what.contains("v9 of 127.0.0.1")),
        "{error}"
    );
    let error = client.manifest("../../x", &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Reference { .. }), "{error}");

    let data = noise(0, 100_000);
    let digest = Digest::of(&data);
    client.push_blob(&digest, &BlobSource::Bytes(data)).await.unwrap();
    let short: Result<Vec<Bytes>, _> = client.blob_stream(&digest, 99_999).try_collect().await;
    assert!(short.is_err(), "a blob that is longer than its descriptor says");
    let wrong = client.push_blob(&Digest::of(b"other"), &BlobSource::Bytes(Bytes::from_static(b"x"))).await;
    assert!(matches!(&wrong, Err(RegistryError::Transfer { .. })), "{wrong:?}");
}

#[tokio::test]
async fn the_password_comes_from_dockers_configuration() {
    let registry = Registry::with_password();
    let client = client(&registry, &with_password(&registry, PASSWORD));
    let data = noise(0, 1000);
    client.push_blob(&Digest::of(&data), &BlobSource::Bytes(data.clone())).await.unwrap();
    let back: Vec<Bytes> = client.blob_stream(&Digest::of(&data), 1000).try_collect().await.unwrap();
    assert_eq!(back.concat(), data);
}

#[tokio::test]
async fn without_the_password_the_error_says_where_it_was_looked_for() {
    let registry = Registry::with_password();
    let wrong = with_password(&registry, "guess");
    let none = RegistryOptions { docker_config: Some("/nowhere/config.json".into()), ..wrong.clone() };
    for (options, says) in
        [(wrong, "refused the password of user tester"), (none, "no credentials are configured")]
    {
        let file = options.docker_config.clone().unwrap();
        let error =
            client(&registry, &options).manifest("v1", &[OCI_MANIFEST]).await.unwrap_err().to_string();
        for part in [says, &registry.host, file.to_str().unwrap(), "docker login"] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

#[tokio::test]
async fn plain_http_is_not_spoken_unless_allowed() {
    let registry = Registry::open();
    let options = RegistryOptions { plain_http: PlainHttp::Never, ..RegistryOptions::default() };
    let error = client(&registry, &options).manifest("v1", &[OCI_MANIFEST]).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}
