//! SASL and TLS against real listeners: what lets a node in, and what it says when it is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::dicom::red_triangle;
use crate::kit::folder::name;
use crate::kit::history::send;
use crate::kit::kafka::{Broker, LOGIN, free_port, jars, new_topic};
use crate::kit::process::{Process, kymo, ran};

/// Certificates made for one test.
struct Certificates(PathBuf);

impl Certificates {
    /// A CA that vouches for a broker on loopback and for a node, and another that vouches for nobody.
    fn make(folder: &Path) -> Self {
        let made = Command::new("sh")
            .current_dir(folder)
            .args([
                "-ec",
                "ca() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj \"/CN=$1\" -keyout $1.key -out $1.pem; }
                ca ca; ca stranger
                signed() {
                  openssl req -newkey rsa:2048 -nodes -subj \"/CN=$1\" -keyout $1.key -out $1.csr
                  printf 'subjectAltName=IP:127.0.0.1\\n' > $1.ext
                  openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.pem
                  cat $1.key $1.pem > $1.both
                }
                signed broker; signed node
                openssl pkcs8 -topk8 -nocrypt -in broker.key -out broker.pkcs8
                cat broker.pkcs8 broker.pem > broker.both",
            ])
            .output()
            .expect("there is a shell");
        assert!(made.status.success(), "{made:?}");
        Self(folder.to_owned())
    }

    fn path(&self, file: &str) -> String {
        name(&self.0.join(file)).to_owned()
    }
}

/// A broker that asks for a login over TLS on the first port, and for a certificate on the second.
fn guarded(certificates: &Certificates, ports: (u16, u16)) -> Option<Broker> {
    let (user, password) = LOGIN;
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";"
    );
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let settings = format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.login.plain.sasl.jaas.config={plain}\n\
         listener.name.login.scram-sha-256.sasl.jaas.config={scram}\n\
         listener.name.login.scram-sha-512.sasl.jaas.config={scram}\n\
         listener.name.mutual.ssl.client.auth=required",
        certificates.path("broker.both"),
        certificates.path("ca.pem"),
    );
    let listeners = vec![("LOGIN", "SASL_SSL", ports.0), ("MUTUAL", "SSL", ports.1)];
    Some(Broker::with(&jars()?, listeners, |_| settings.clone()))
}

/// What is said by a command that waits for a broker in vain.
fn said_in_vain(flags: &[&str]) -> String {
    let tried = ran(&[&["log", "create", "--trace", "debug"], flags].concat());
    assert!(!tried.status.success(), "{tried:?}");
    let said = String::from_utf8(tried.stderr).expect("text");
    assert!(!said.contains(LOGIN.1) && !said.contains("wrong horse"), "a password is shown: {said}");
    said
}

#[test]
fn a_login_over_tls_lets_a_node_in_and_a_wrong_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let ports = (free_port(), free_port());
    let Some(broker) = guarded(&certificates, ports) else { return };
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    std::fs::write(&right, format!("{}\n", LOGIN.1)).expect("a file");
    std::fs::write(&wrong, "wrong horse\n").expect("a file");
    let (ca, stranger) = (certificates.path("ca.pem"), certificates.path("stranger.pem"));
    let address = format!("127.0.0.1:{}", ports.0);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let topic = new_topic();
        let with = |password: &Path, ca: &str| -> Vec<String> {
            let given = [
                "--kafka-brokers",
                &address,
                "--kafka-topic",
                &topic,
                "--kafka-sasl",
                mechanism,
                "--kafka-user",
                LOGIN.0,
                "--kafka-password-file",
                name(password),
                "--kafka-tls-ca",
                ca,
            ];
            given.map(ToOwned::to_owned).to_vec()
        };
        let given = with(&right, &ca);
        let flags: Vec<&str> = given.iter().map(String::as_str).chain(["--kafka-create-topic"]).collect();
        let archive = Process::start(&folder.path().join(mechanism), &flags);
        send(&mut archive.connect(), "POST", &red_triangle());

        let given = with(&wrong, &ca);
        let flags: Vec<&str> = given.iter().map(String::as_str).collect();
        let said = said_in_vain(&flags);
        assert!(said.contains("SASL") && said.contains("uthentication"), "{mechanism}: {said}");
    }
    let given = [
        "--kafka-brokers",
        &address,
        "--kafka-tls-ca",
        &stranger,
        "--kafka-sasl",
        "PLAIN",
        "--kafka-user",
        LOGIN.0,
        "--kafka-password-file",
        name(&right),
    ];
    let said = said_in_vain(&given);
    assert!(said.contains("certificate verify failed"), "{said}");

    // A certificate instead of a login.
    let address = format!("127.0.0.1:{}", ports.1);
    let (certificate, key) = (certificates.path("node.pem"), certificates.path("node.key"));
    let topic = new_topic();
    let tls = ["--kafka-brokers", &address, "--kafka-topic", &topic, "--kafka-tls-ca", &ca];
    let own = ["--kafka-tls-certificate", &certificate, "--kafka-tls-key", &key, "--kafka-create-topic"];
    let archive = Process::start(&folder.path().join("mutual"), &[&tls[..], &own].concat());
    send(&mut archive.connect(), "POST", &red_triangle());
    let said = said_in_vain(&tls);
    assert!(said.contains("SSL") || said.contains("ssl"), "{said}");
    drop(broker);
}

/// The password may come in a variable, which no list of processes shows.
#[test]
fn a_password_in_a_variable_is_not_shown() {
    let shown = kymo()
        .args([
            "log",
            "create",
            "--kafka-brokers",
            "127.0.0.1:1",
            "--kafka-sasl",
            "PLAIN",
            "--kafka-user",
            "me",
        ])
        .args(["--trace", "debug"])
        .env("KYMO_KAFKA_PASSWORD", "wrong horse")
        .output()
        .expect("the program can be run");
    let said = String::from_utf8([shown.stdout, shown.stderr].concat()).expect("text");
    assert!(!said.contains("wrong horse"), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}
