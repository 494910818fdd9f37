//! Who may talk to whom in a cluster: one authority, two certificates, a token per program.
//!
//! Writes files into the cluster's folder; they die with the cluster.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use super::name::{self, API_PORT, API_SERVICE, HOST_ADDRESS};
use crate::build::hexadecimal;

/// Where a cluster's credentials lie.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    folder: PathBuf,
}

/// Names under which clients reach the API server.
const API_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "127.0.0.1",
    HOST_ADDRESS,
    API_SERVICE,
];

impl Credentials {
    /// Makes everything that a cluster of so many nodes needs.
    pub(crate) fn create(folder: &Path, nodes: usize) -> Result<Self> {
        let credentials = Self {
            folder: folder.to_owned(),
        };
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = subject("testbed", None);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)
            .context("making the authority")?;
        credentials.keep("ca.crt", &authority.pem())?;
        credentials.keep("ca.key", &authority.key().serialize_pem())?;

        let names: Vec<String> = API_NAMES.iter().map(|&name| name.to_owned()).collect();
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name = subject("kube-apiserver", None);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        credentials.issue("api", server, &authority)?;

        // With this one the API server reaches kubelets, for logs and exec.
        let mut client = CertificateParams::default();
        client.distinguished_name = subject("apiserver-kubelet", Some("system:masters"));
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        credentials.issue("kubelet-client", client, &authority)?;

        let account = KeyPair::generate().context("making the key for service accounts")?;
        credentials.keep("account.key", &account.serialize_pem())?;
        credentials.keep("account.pub", &account.public_key_pem())?;
        credentials.tokens(nodes)?;
        Ok(credentials)
    }

    fn issue(
        &self,
        name: &str,
        mut params: CertificateParams,
        authority: &CertifiedIssuer<'_, KeyPair>,
    ) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
        let certificate = params
            .signed_by(&key, authority)
            .with_context(|| format!("signing the certificate of {name}"))?;
        self.keep(&format!("{name}.crt"), &certificate.pem())?;
        self.keep(&format!("{name}.key"), &key.serialize_pem())
    }

    /// Writes the table of tokens and a kubeconfig for every program that has one.
    fn tokens(&self, nodes: usize) -> Result<()> {
        let mut table = String::new();
        let mut add = |program: &str, user: &str, group: &str| -> Result<()> {
            let token = random_token()?;
            writeln!(table, "{token},{user},{program},{group}")?;
            let server = format!("https://{HOST_ADDRESS}:{API_PORT}");
            self.kubeconfig(program, &server, &token)?;
            self.keep(&format!("{program}.token"), &token)
        };
        add("admin", "admin", "system:masters")?;
        add("controller-manager", "system:kube-controller-manager", "")?;
        add("scheduler", "system:kube-scheduler", "")?;
        add("proxy", "system:kube-proxy", "")?;
        for number in 1..=nodes {
            let node = name::node(number);
            add(&node, &format!("system:node:{node}"), "system:nodes")?;
        }
        self.keep("tokens.csv", &table)
    }

    /// Writes the kubeconfig with which this machine's own clients reach the cluster.
    pub(crate) fn outside(&self, path: &Path, context: &str, port: u16) -> Result<()> {
        let token = self.folder.join("admin.token");
        let token =
            fs::read_to_string(&token).with_context(|| format!("reading {}", token.display()))?;
        let text = self.config(context, &format!("https://127.0.0.1:{port}"), &token);
        secret(path, &text)
    }

    fn kubeconfig(&self, program: &str, server: &str, token: &str) -> Result<()> {
        self.keep(
            &format!("{program}.kubeconfig"),
            &self.config("testbed", server, token),
        )
    }

    fn config(&self, context: &str, server: &str, token: &str) -> String {
        let authority = self.path("ca.crt");
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {context}\n\
             \x20 cluster: {{ server: \"{server}\", certificate-authority: \"{authority}\" }}\n\
             users:\n\
             - name: {context}\n\
             \x20 user: {{ token: {token} }}\n\
             contexts:\n\
             - name: {context}\n\
             \x20 context: {{ cluster: {context}, user: {context} }}\n\
             current-context: {context}\n"
        )
    }

    fn keep(&self, name: &str, text: &str) -> Result<()> {
        secret(&self.folder.join(name), text)
    }

    /// The path of one of the files, as an argument.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn subject(name: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organisation) = organisation {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject.push(DnType::CommonName, name);
    subject
}

/// 32 hexadecimal digits from the kernel.
fn random_token() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading random bytes")?;
    Ok(hexadecimal(&bytes))
}

/// Writes a file that only its owner reads.
fn secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
