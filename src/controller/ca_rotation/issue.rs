//! Making and reading certificates: what stands in the Secrets, as what [`plan`](mod@super::plan) decides by.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::plan::{Authority, Leaf};
use crate::tls::{Pair, der};

/// How far back certificates begin, so that a clock that is a little behind takes them.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// Every authority's name. One name suffices: verifiers tell authorities of one name apart by their key's identifier.
const AUTHORITY_NAME: &str = "scalegate webhook CA";

/// Why a certificate cannot be made. Holds no part of a key.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The library refuses.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The authority's key does not fit its certificate, or the certificate is of another make.
    #[error("the authority in the Secret cannot issue what verifies against it")]
    Foreign,
}

/// A certificate and its key, both PEM.
pub struct Made {
    /// The certificate; of a leaf, followed by its authority's.
    pub chain_pem: String,
    /// PKCS#8. Secret.
    pub key_pem: String,
}

/// Makes an authority that holds for `validity` from `now`.
///
/// # Errors
/// When the library refuses.
pub fn make_authority(now: SystemTime, validity: Duration) -> Result<Made, IssueError> {
    let mut params = authority_params()?;
    dates(&mut params, now, now + validity);
    let key = KeyPair::generate()?;
    Ok(Made { chain_pem: params.self_signed(&key)?.pem(), key_pem: key.serialize_pem() })
}

/// Issues a server certificate for the one name that the API server asks for, from `now` to `not_after`.
///
/// # Errors
/// When the key does not read, or what it signs does not verify against the authority's certificate.
pub fn issue(
    authority_der: &[u8],
    authority_key_pem: &str,
    name: &str,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<Made, IssueError> {
    let issuer = Issuer::new(authority_params()?, KeyPair::from_pem(authority_key_pem)?);
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    // A common name may have 64 characters only, and nobody looks at it.
    params.distinguished_name.push(DnType::CommonName, "scalegate webhook");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    dates(&mut params, now, not_after);
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &issuer)?;
    if !verifies(leaf.der(), &[], authority_der, name, now) {
        return Err(IssueError::Foreign);
    }
    Ok(Made { chain_pem: leaf.pem() + &pem(authority_der), key_pem: key.serialize_pem() })
}

/// Whether an authority from a Secret can issue: its key is its own, and a leaf that it signs verifies.
pub fn can_issue(authority: &Authority, certificate_pem: &[u8], key_pem: &[u8], now: SystemTime) -> bool {
    let Ok(key) = std::str::from_utf8(key_pem) else { return false };
    Pair::from_pem(certificate_pem, key_pem).is_ok()
        && issue(&authority.der, key, "probe.invalid", now, authority.not_after).is_ok()
}

/// The certificates of a PEM text, in order; nothing when one does not read.
pub fn authorities(pem: &[u8]) -> Option<Vec<Authority>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|certificate| {
            let certificate = certificate.ok()?;
            let (_, not_after) = der::validity(&certificate)?;
            Some(Authority { der: certificate.to_vec(), not_after })
        })
        .collect()
}

/// What a Secret's chain and key are worth to an API server that asks for `name`, given the authorities that are known.
pub fn leaf(chain: &[u8], key: &[u8], name: &str, known: &[Authority], now: SystemTime) -> Leaf {
    let Ok(pair) = Pair::from_pem(chain, key).and_then(|pair| pair.valid_at(now)) else { return Leaf::Unusable };
    let leaf = CertificateDer::from(pair.leaf());
    let Ok(parsed) = ParsedCertificate::try_from(&leaf) else { return Leaf::Unusable };
    let named = ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    if !named {
        return Leaf::Unusable;
    }
    let rest: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(chain).skip(1).flatten().collect();
    let issuer = known.iter().find(|authority| verifies(&leaf, &rest, &authority.der, name, now));
    Leaf::Usable { issuer: issuer.map(|authority| authority.der.clone()), not_after: pair.not_after() }
}

/// PEM of a bundle.
pub fn bundle_pem<'a>(bundle: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    bundle.into_iter().map(|der| pem(der)).collect()
}

/// Roots with exactly one authority; nothing when it is none.
pub fn roots(authority: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority)).ok()?;
    Some(roots)
}

fn verifies(leaf: &[u8], rest: &[CertificateDer<'_>], authority: &[u8], name: &str, now: SystemTime) -> bool {
    let leaf = CertificateDer::from(leaf);
    let (Ok(parsed), Some(roots), Ok(name)) =
        (ParsedCertificate::try_from(&leaf), roots(authority), ServerName::try_from(name))
    else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, rest, now, algorithms).is_ok()
        && verify_server_name(&parsed, &name).is_ok()
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn dates(params: &mut CertificateParams, now: SystemTime, not_after: SystemTime) {
    params.not_before = now.checked_sub(BACKDATED).unwrap_or(SystemTime::UNIX_EPOCH).into();
    params.not_after = not_after.into();
}

/// RFC 7468: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "scalegate.ns.svc";
    const HOUR: Duration = Duration::from_secs(3_600);

    fn authority(made: &Made) -> Authority {
        authorities(made.chain_pem.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_leaf_is_known_by_the_authority_that_issued_it_among_several_of_one_name() {
        let now = SystemTime::now();
        let (one, two) = (make_authority(now, HOUR).unwrap(), make_authority(now, HOUR).unwrap());
        let known = [authority(&one), authority(&two)];
        for (made, of) in [(&one, &known[0]), (&two, &known[1])] {
            assert!(can_issue(of, made.chain_pem.as_bytes(), made.key_pem.as_bytes(), now));
            let issued = issue(&of.der, &made.key_pem, NAME, now, now + HOUR / 2).unwrap();
            let (chain, key) = (issued.chain_pem.as_bytes(), issued.key_pem.as_bytes());
            let Leaf::Usable { issuer, .. } = leaf(chain, key, NAME, &known, now) else { panic!("usable") };
            assert_eq!(issuer.as_ref(), Some(&of.der));
            // Another Service, an end, and an authority that nobody knows.
            assert_eq!(leaf(chain, key, "other.ns.svc", &known, now), Leaf::Unusable);
            assert_eq!(leaf(chain, key, NAME, &known, now + HOUR), Leaf::Unusable);
            assert!(matches!(leaf(chain, key, NAME, &[], now), Leaf::Usable { issuer: None, .. }));
        }
    }

    #[test]
    fn an_authority_with_anothers_key_or_of_another_make_cannot_issue() {
        let now = SystemTime::now();
        let (one, two) = (make_authority(now, HOUR).unwrap(), make_authority(now, HOUR).unwrap());
        assert!(!can_issue(&authority(&one), one.chain_pem.as_bytes(), two.key_pem.as_bytes(), now));
        assert!(!can_issue(&authority(&one), one.chain_pem.as_bytes(), b"\xff", now));
        let foreign = crate::tls::DevCa::generate("somebody else", HOUR).unwrap();
        let (pem, key) = (foreign.certificate_pem(), foreign.key_pem());
        let foreign = authorities(pem.as_bytes()).unwrap().remove(0);
        assert!(!can_issue(&foreign, pem.as_bytes(), key.as_bytes(), now));
    }

    #[test]
    fn a_bundle_reads_back_as_what_was_written() {
        let now = SystemTime::now();
        let made: Vec<Authority> = (0..3).map(|_| authority(&make_authority(now, HOUR).unwrap())).collect();
        let text = bundle_pem(made.iter().map(|authority| &authority.der));
        assert_eq!(authorities(text.as_bytes()).unwrap(), made);
        assert_eq!(authorities(b"").unwrap(), []);
        assert!(authorities(text.replace("MII", "!!!").as_bytes()).is_none());
    }
}
