//! Who may talk to whom: authorities, certificates, the administrator's token, kubeconfigs.
//!
//! Everything is made anew for each control plane and never leaves its directory. etcd has an authority of its own:
//! a user's certificate opens the API server, and not its store.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::Result;

/// The names by which clients reach the servers.
const HOSTS: &[&str] = &["127.0.0.1", "localhost", "kubernetes.default.svc"];

pub(super) struct Access {
    users: Authority,
    token: String,
}

impl Access {
    /// Makes all secrets and writes those that the servers read into `directory`.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let etcd = Authority::new("everstep rig etcd")?;
        fs::write(directory.join("etcd-ca.crt"), &etcd.certificate)?;
        etcd.issue_server("etcd")?.write(directory, "etcd")?;
        etcd.issue_client("kube-apiserver", None)?
            .write(directory, "etcd-client")?;

        let users = Authority::new("everstep rig")?;
        fs::write(directory.join("ca.crt"), &users.certificate)?;
        users.issue_server("kube-apiserver")?.write(directory, "apiserver")?;
        let service_accounts = KeyPair::generate()?;
        fs::write(directory.join("service-accounts.key"), service_accounts.serialize_pem())?;
        fs::write(
            directory.join("service-accounts.pub"),
            service_accounts.public_key_pem(),
        )?;

        let token = random_token()?;
        fs::write(
            directory.join("tokens.csv"),
            format!("{token},admin,admin,system:masters\n"),
        )?;
        Ok(Self { users, token })
    }

    pub(super) fn admin_kubeconfig(&self, server: &str) -> String {
        self.kubeconfig_of_token(server, &self.token)
    }

    pub(super) fn kubeconfig_of_token(&self, server: &str, token: &str) -> String {
        self.kubeconfig(server, &json!({ "token": token }))
    }

    pub(super) fn kubeconfig_of(&self, server: &str, user: &str, group: Option<&str>) -> Result<String> {
        let identity = self.users.issue_client(user, group)?;
        Ok(self.kubeconfig(
            server,
            &json!({
                "client-certificate-data": base64(identity.certificate.as_bytes()),
                "client-key-data": base64(identity.key.as_bytes()),
            }),
        ))
    }

    /// As JSON, which every reader of YAML reads.
    fn kubeconfig(&self, server: &str, credentials: &serde_json::Value) -> String {
        let authority = base64(self.users.certificate.as_bytes());
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "rig",
            "clusters": [{
                "name": "rig",
                "cluster": { "server": server, "certificate-authority-data": authority },
            }],
            "users": [{ "name": "rig", "user": credentials }],
            "contexts": [{ "name": "rig", "context": { "cluster": "rig", "user": "rig" } }],
        })
        .to_string()
    }
}

impl fmt::Debug for Access {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    fn issue_server(&self, name: &str) -> Result<Identity> {
        let hosts: Vec<String> = HOSTS.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        // etcd's gateway presents it as a client, to itself.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// Kubernetes takes the common name for the user's name, and the organisation for its group.
    fn issue_client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        Ok(Identity {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn write(&self, directory: &Path, name: &str) -> Result<()> {
        fs::write(directory.join(format!("{name}.crt")), &self.certificate)?;
        fs::write(directory.join(format!("{name}.key")), &self.key)?;
        Ok(())
    }
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn base64(bytes: &[u8]) -> serde_json::Value {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("bytes are always a JSON string")
}
