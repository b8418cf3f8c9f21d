use std::format;
use std::fs;
use std::string::String;
use std::vec::Vec;

use ::redis::TlsCertificates;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Address;
use crate::shell::RedisOptions;
use crate::{ConfigError, ConfigProblem};

/// Options of a journal in Redis, read and checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// What the names of all keys begin with.
    pub key_prefix: String,
    /// Whom to trust.
    pub certificates: TlsCertificates,
}

impl Target {
    /// Reads and checks the options.
    ///
    /// # Errors
    ///
    /// Every option that cannot be used, by name, together.
    pub fn new(options: &RedisOptions) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let address = match &options.url {
            Some(url) => Address::parse(url).map_err(|problem| problems.push(problem)).ok(),
            None => {
                problems.push(problem("redis_url", "none", "given"));
                None
            }
        };
        let roots = roots(options).map_err(|problem| problems.push(problem)).ok().flatten();
        if roots.is_some() && address.as_ref().is_some_and(|address| !address.is_tls()) {
            problems.push(problem("redis_url", "[secret]", "`rediss` where certificates are given"));
        }
        match address {
            Some(address) if problems.is_empty() => Ok(Self {
                address,
                key_prefix: options.key_prefix.clone(),
                certificates: TlsCertificates { client_tls: None, root_cert: roots },
            }),
            Some(_) | None => Err(ConfigError { problems }),
        }
    }
}

/// All certificates in PEM; none if those of the system count.
fn roots(options: &RedisOptions) -> Result<Option<Vec<u8>>, ConfigProblem> {
    let mut pem = options.root_certificates.clone();
    if let Some(path) = &options.ca_file {
        let file = fs::read(path);
        let unreadable = |error| problem("redis_ca_file", path, format!("a file that can be read ({error})"));
        pem.extend(check_roots("redis_ca_file", path, file.map_err(unreadable)?)?);
    }
    if !options.root_certificates.is_empty() {
        let shown = format!("{} bytes", options.root_certificates.len());
        check_roots("root_certificates", &shown, options.root_certificates.clone())?;
    }
    Ok((!pem.is_empty()).then_some(pem))
}

fn check_roots(field: &'static str, shown: &str, pem: Vec<u8>) -> Result<Vec<u8>, ConfigProblem> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|_| problem(field, shown, "certificates in PEM"))?;
        store
            .add(der)
            .map_err(|error| problem(field, shown, format!("certificates that can be read ({error})")))?;
    }
    if store.is_empty() {
        return Err(problem(field, shown, "at least one certificate in PEM"));
    }
    Ok(pem)
}

fn problem(field: &'static str, value: &str, bound: impl Into<String>) -> ConfigProblem {
    ConfigProblem { field, value: value.into(), bound: bound.into() }
}
