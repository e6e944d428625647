//! Real object stores, one of each kind for the whole run, and what their owners do behind the archive's back.
//!
//! The programs are named by KYMO_TEST_VERSITYGW (S3) and KYMO_TEST_AZURITE (Azure Blob), as `tests/real/stores`
//! prints them. Where one is not named its tests are left out, loudly; with CI=true that is a failure.
//! Invariant: a store ends with the run, however that ends: its keeper waits for the end of a pipe.
//! Elsewhere: faults on the way to them (`kit::proxy`).

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use kymo::blob::{self, Blobs, Environment, EtagRule, Location, Reach};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use super::process::{Connection, PATIENCE, Process};
use super::proxy::Proxy;

const ACCOUNT: &str = "devstoreaccount1";
/// The account key that every Azurite has.
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const S3_KEY: &str = "kymo-test";
const S3_SECRET: &str = "kymo-test-secret";
/// What all keys begin with, so that the prefix is tested too.
const PREFIX: &str = "some/where";

/// Runs the program given, ends it with SIGTERM when its own input ends, and clears up.
const KEEPER: &str = r#"folder=$1; shift
"$@" < /dev/null > "$folder/said.log" 2>&1 & server=$!
read -r _
kill -TERM $server; wait $server; rm -rf "$folder""#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Azure,
}

/// A running store.
struct Server {
    address: SocketAddr,
    folder: PathBuf,
    /// Its input is the pipe that ends with this process.
    _keeper: Child,
}

static S3: LazyLock<Option<Server>> = LazyLock::new(|| start(Kind::S3));
static AZURE: LazyLock<Option<Server>> = LazyLock::new(|| start(Kind::Azure));

fn start(kind: Kind) -> Option<Server> {
    let name = match kind {
        Kind::S3 => "KYMO_TEST_VERSITYGW",
        Kind::Azure => "KYMO_TEST_AZURITE",
    };
    let Some(program) = std::env::var_os(name) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} must be set in CI");
        eprintln!("left out: {name} is not set (see tests/real/stores)");
        return None;
    };
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let (data, accounts) = (folder.join("data"), folder.join("accounts"));
    for made in [&data, &accounts] {
        std::fs::create_dir(made).expect("a folder");
    }
    // The port may be taken by somebody else in between.
    for _ in 0..5 {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(&folder).arg(&program);
        let port = address.port().to_string();
        match kind {
            Kind::S3 => command
                .env("ROOT_ACCESS_KEY", S3_KEY)
                .env("ROOT_SECRET_KEY", S3_SECRET)
                .args(["--quiet", "--port", &address.to_string(), "--health", "/health", "--iam-dir"])
                .args([accounts.as_os_str(), "posix".as_ref(), data.as_os_str()]),
            Kind::Azure => command
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--location"])
                .arg(&data)
                .args(["--skipApiVersionCheck", "--disableTelemetry", "--silent"]),
        };
        let mut keeper = command.stdin(Stdio::piped()).spawn().expect("there is a shell");
        if is_up(address) {
            return Some(Server { address, folder: data, _keeper: keeper });
        }
        drop((keeper.stdin.take(), keeper.wait()));
    }
    panic!("{name} does not start");
}

fn is_up(address: SocketAddr) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let answers = Connection::to(address).and_then(|mut to| to.ask("GET", "/health", &[], b""));
        if answers.is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A bucket or container of its own, and a proxy before it.
pub(crate) struct Far {
    pub(crate) kind: Kind,
    pub(crate) proxy: Proxy,
    server: &'static Server,
    bucket: String,
    runtime: Runtime,
}

impl Far {
    /// One in each store that is there.
    pub(crate) fn each() -> Vec<Self> {
        [Kind::S3, Kind::Azure].into_iter().filter_map(Self::of).collect()
    }

    pub(crate) fn of(kind: Kind) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = match kind {
            Kind::S3 => S3.as_ref()?,
            Kind::Azure => AZURE.as_ref()?,
        };
        let bucket = format!("bucket{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let proxy = Proxy::before(server.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let far = Self { kind, proxy, server, bucket, runtime };
        far.create();
        Some(far)
    }

    /// Its owner makes the bucket.
    pub(crate) fn create(&self) {
        match self.kind {
            Kind::S3 => std::fs::create_dir(self.server.folder.join(&self.bucket)).expect("a new folder"),
            Kind::Azure => assert_eq!(self.container("PUT"), 201),
        }
    }

    /// Its owner takes the bucket away, with all that is in it.
    pub(crate) fn destroy(&self) {
        match self.kind {
            Kind::S3 => std::fs::remove_dir_all(self.server.folder.join(&self.bucket)).expect("it is there"),
            Kind::Azure => assert_eq!(self.container("DELETE"), 202),
        }
    }

    /// `object_store` makes and removes no containers.
    fn container(&self, method: &str) -> u16 {
        let date = httpdate();
        let version = "2021-08-06";
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{}\nrestype:container", self.bucket);
        let signed =
            format!("{method}\n{}x-ms-date:{date}\nx-ms-version:{version}\n{resource}", "\n".repeat(11));
        let key = base64(ACCOUNT_KEY);
        let signature = to_base64(&hmac_sha256(&key, signed.as_bytes()));
        let authorization = format!("SharedKey {ACCOUNT}:{signature}");
        let path = format!("/{ACCOUNT}/{}?restype=container", self.bucket);
        // Azurite takes the account from the path only where the host is a number.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-ms-date: {date}\r\nx-ms-version: {version}\r\n\
             authorization: {authorization}\r\ncontent-length: 0\r\n\r\n",
            self.server.address
        );
        let mut connection = Connection::to(self.server.address).expect("it takes connections");
        connection.write(request.as_bytes()).expect("it takes the request");
        connection.answer_to(method).expect("it answers").status
    }

    /// What `--blobs` is to be.
    pub(crate) fn place(&self) -> String {
        let scheme = if self.kind == Kind::S3 { "s3" } else { "az" };
        format!("{scheme}://{}/{PREFIX}", self.bucket)
    }

    /// The environment of a process that reaches it, through the proxy.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment_at(self.proxy.address())
    }

    fn environment_at(&self, address: SocketAddr) -> Vec<(String, String)> {
        let pairs: Vec<(&str, String)> = match self.kind {
            Kind::S3 => vec![
                ("AWS_ENDPOINT_URL", format!("http://{address}")),
                ("AWS_ACCESS_KEY_ID", S3_KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", S3_SECRET.to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
            ],
            Kind::Azure => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.to_owned()),
                ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// An account of S3 to which its owner gives the bucket: the variables with which a process is it.
    pub(crate) fn account(&self) -> Vec<(String, String)> {
        let (access, secret) = (format!("user-of-{}", self.bucket), "a-users-secret");
        self.administer(&["create-user", "--access", &access, "--secret", secret, "--role", "user"]);
        self.give(&access);
        let mut environment = self.environment();
        for (name, value) in &mut environment {
            match name.as_str() {
                "AWS_ACCESS_KEY_ID" => value.clone_from(&access),
                "AWS_SECRET_ACCESS_KEY" => secret.clone_into(value),
                _ => {}
            }
        }
        environment
    }

    /// The bucket of S3 belongs to this account and to no other from now on.
    fn give(&self, access: &str) {
        self.administer(&["change-bucket-owner", "--bucket", &self.bucket, "--owner", access]);
    }

    /// What [`Self::account`] could do it can do no more.
    pub(crate) fn revoke(&self) {
        self.give(S3_KEY);
    }

    /// And now it can again.
    pub(crate) fn grant(&self) {
        self.give(&format!("user-of-{}", self.bucket));
    }

    fn administer(&self, arguments: &[&str]) {
        let program = std::env::var_os("KYMO_TEST_VERSITYGW").expect("it runs");
        let address = format!("http://{}", self.server.address);
        let output = Command::new(program)
            .args(["admin", "--access", S3_KEY, "--secret", S3_SECRET, "--endpoint-url", &address])
            .args(arguments)
            .output()
            .expect("it can be run");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// The archive's settings for it, with short waits.
    pub(crate) fn settings(&self, staging: &Path) -> blob::Settings {
        let location: Location = self.place().parse().expect("a place");
        blob::Settings {
            location,
            staging: staging.to_owned(),
            reach: Reach { timeout: Duration::from_secs(2), ..Reach::default() },
            environment: self.environment().into_iter().collect::<Environment>(),
            etag: EtagRule::Lenient,
            cache: None,
        }
    }

    pub(crate) fn blobs(&self, staging: &Path) -> Blobs {
        Blobs::open(&self.settings(staging)).expect("its settings do")
    }

    /// `kymo serve` with its data in `data` and its files here.
    pub(crate) fn serve(&self, data: &Path, flags: &[&str]) -> Process {
        self.serve_as(data, flags, &self.environment())
    }

    /// The same with other credentials.
    pub(crate) fn serve_as(&self, data: &Path, flags: &[&str], environment: &[(String, String)]) -> Process {
        let place = self.place();
        let mut flags = [&["--blobs", &place], flags].concat();
        if !flags.contains(&"--blob-timeout") {
            flags.extend(["--blob-timeout", "2s"]);
        }
        Process::start_in(data, &flags, environment)
    }

    /// The store as its owner sees it, without the proxy.
    fn owner(&self) -> Arc<dyn ObjectStore> {
        let environment = self.environment_at(self.server.address);
        match self.kind {
            Kind::S3 => {
                let builder =
                    environment.into_iter().fold(AmazonS3Builder::new(), |builder, (name, value)| {
                        builder.with_config(name.to_lowercase().parse().expect("a known name"), value)
                    });
                Arc::new(builder.with_bucket_name(&self.bucket).build().expect("its settings do"))
            }
            Kind::Azure => {
                let builder =
                    environment.into_iter().fold(MicrosoftAzureBuilder::new(), |builder, (name, value)| {
                        builder.with_config(name.to_lowercase().parse().expect("a known name"), value)
                    });
                Arc::new(builder.with_container_name(&self.bucket).build().expect("its settings do"))
            }
        }
    }

    /// Keys of all files, as the archive knows them, and what is outside of its prefix, as it is.
    pub(crate) fn keys(&self) -> Vec<String> {
        let found: Result<Vec<_>, _> = self.runtime.block_on(self.owner().list(None).try_collect());
        let mut keys: Vec<String> = found
            .expect("it can be listed")
            .into_iter()
            .map(|found: object_store::ObjectMeta| {
                let key = found.location.to_string();
                key.strip_prefix(&format!("{PREFIX}/")).map(ToOwned::to_owned).unwrap_or(key)
            })
            .collect();
        keys.sort();
        keys
    }

    fn key(key: &str) -> Key {
        Key::from(format!("{PREFIX}/{key}"))
    }

    pub(crate) fn get(&self, key: &str) -> Bytes {
        let store = self.owner();
        let read = async { store.get(&Self::key(key)).await?.bytes().await };
        self.runtime.block_on(read).expect("it is there")
    }

    /// Its owner writes something under a key.
    pub(crate) fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let (store, bytes) = (self.owner(), bytes.into());
        self.runtime
            .block_on(async { store.put(&Self::key(key), bytes.into()).await })
            .expect("it is written");
    }

    /// Its owner removes a file.
    pub(crate) fn remove(&self, key: &str) {
        let store = self.owner();
        self.runtime.block_on(async { store.delete(&Self::key(key)).await }).expect("it is removed");
    }

    /// Uploads in parts that are neither complete nor aborted; only S3 has such.
    pub(crate) fn unfinished(&self) -> usize {
        let folder = self.server.folder.join(&self.bucket).join(".sgwtmp/multipart");
        if !folder.is_dir() {
            return 0;
        }
        super::folder::files(&folder).len()
    }

    /// Waits for what must come to be.
    pub(crate) fn until(what: &str, mut there: impl FnMut() -> bool) {
        let began = Instant::now();
        while !there() {
            assert!(began.elapsed() < 2 * PATIENCE, "still not: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `Sat, 21 Nov 2026 14:26:38 GMT`.
fn httpdate() -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::OffsetDateTime::now_utc().format(&format).expect("a date")
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let block: [u8; 64] = std::array::from_fn(|at| key.get(at).copied().unwrap_or(0));
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5C)).chain_update(inner).finalize().into()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| BASE64.iter().position(|known| *known == c).expect("a digit") as u32;
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let digits: Vec<u32> = four.iter().filter(|c| **c != b'=').map(|c| value(*c)).collect();
        let number = digits.iter().fold(0, |number, digit| number << 6 | digit) << (6 * (4 - digits.len()));
        bytes.extend_from_slice(&number.to_be_bytes()[1..digits.len()]);
    }
    bytes
}

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number =
            three.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = number >> (18 - 6 * digit) & 63;
            text.push(if digit > three.len() { '=' } else { char::from(BASE64[index as usize]) });
        }
    }
    text
}
