use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use super::{DevCa, LiveCertificate, Pair, YEAR, pair};
use crate::tls::{CertificateError, der, server_config};

// Made for this test with openssl and used nowhere else; ring cannot make RSA keys.
const RSA_CHAIN: &[u8] = include_bytes!("../testdata/rsa-chain.pem");
const RSA_KEY: &[u8] = include_bytes!("../testdata/rsa-pkcs1.pem");

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// The SEC1 key inside a PKCS#8 one: sequence, version, algorithm, then an octet string with the key.
fn sec1_of(pkcs8_pem: &str) -> String {
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pkcs8_pem.as_bytes()).expect("PKCS#8");
    let bytes = pkcs8.secret_pkcs8_der();
    let (_, content, _) = der::element(bytes).expect("a sequence");
    let (_, _, rest) = der::element(content).expect("a version");
    let (_, _, rest) = der::element(rest).expect("an algorithm");
    let (tag, key, _) = der::element(rest).expect("a key");
    assert_eq!(tag, 0x04);
    pem("EC PRIVATE KEY", key)
}

#[test]
fn keys_are_read_in_all_three_spellings() {
    let issued = DevCa::generate("t", YEAR).expect("a CA").issue(&["a.b.svc"]).expect("a certificate");
    assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY"));
    Pair::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PKCS#8");
    Pair::from_pem(issued.chain_pem.as_bytes(), sec1_of(&issued.key_pem).as_bytes()).expect("SEC1");
    assert!(RSA_KEY.starts_with(b"-----BEGIN RSA PRIVATE KEY"));
    Pair::from_pem(RSA_CHAIN, RSA_KEY).expect("PKCS#1");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = DevCa::generate("t", YEAR).expect("a CA");
    let (one, two) = (ca.issue(&["a"]).expect("a certificate"), ca.issue(&["a"]).expect("a certificate"));
    let mixed = Pair::from_pem(one.chain_pem.as_bytes(), two.key_pem.as_bytes());
    assert!(matches!(mixed, Err(CertificateError::Mismatch)), "{mixed:?}");
    let mixed = Pair::from_pem(RSA_CHAIN, one.key_pem.as_bytes());
    assert!(matches!(mixed, Err(CertificateError::Mismatch)), "{mixed:?}");
    // The chain upside down: the key belongs to the leaf, which has to come first.
    let (leaf, ca_pem) = one.chain_pem.split_at(one.chain_pem.rfind("-----BEGIN").expect("two certificates"));
    let turned = Pair::from_pem([ca_pem, leaf].concat().as_bytes(), one.key_pem.as_bytes());
    assert!(matches!(turned, Err(CertificateError::Mismatch)), "{turned:?}");
}

#[test]
fn half_written_and_foreign_files_are_refused_by_name_and_without_a_panic() {
    let issued = DevCa::generate("t", YEAR).expect("a CA").issue(&["a"]).expect("a certificate");
    let (chain, key) = (issued.chain_pem.as_bytes(), issued.key_pem.as_bytes());
    for bad in [b"".as_slice(), b"nonsense", key, b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(Pair::from_pem(bad, key), Err(CertificateError::Chain)));
    }
    assert!(matches!(Pair::from_pem(pem("CERTIFICATE", b"x").as_bytes(), key), Err(CertificateError::NotX509)));
    for bad in [b"".as_slice(), b"nonsense", chain] {
        assert!(matches!(Pair::from_pem(chain, bad), Err(CertificateError::Key)));
    }
    let unusable = Pair::from_pem(chain, pem("PRIVATE KEY", b"x").as_bytes());
    assert!(matches!(unusable, Err(CertificateError::UnusableKey(_))));
    for end in 0..key.len() - 2 {
        let cut = Pair::from_pem(chain, &key[..end]).expect_err("a cut key");
        assert!(!cut.to_string().contains("MIG"));
    }
}

#[test]
fn certificates_begin_an_hour_ago_and_end_with_their_authority() {
    let ca = DevCa::generate("t", Duration::from_secs(7_200)).expect("a CA");
    let pair = pair(&ca, &["a.b.svc", "127.0.0.1", "::1"]);
    let now = SystemTime::now();
    let ago = now.duration_since(pair.not_before()).expect("in the past");
    assert!(ago >= Duration::from_secs(3_500), "{ago:?}");
    let left = pair.not_after().duration_since(now).expect("in the future");
    assert!(left <= Duration::from_secs(7_200) && left > Duration::from_secs(3_600), "{left:?}");
    let (_, ca_ends) = der::validity(ca.certificate_der()).expect("dates");
    assert!(pair.not_after() <= ca_ends + Duration::from_secs(1));
    // The dates of a certificate that somebody else made.
    let rsa = Pair::from_pem(RSA_CHAIN, RSA_KEY).expect("a pair");
    assert!(rsa.not_after().duration_since(now).expect("in the future") > YEAR);
}

#[test]
fn a_live_certificate_tells_until_when_its_present_pair_holds() {
    let short = DevCa::generate("short", Duration::from_secs(600)).expect("a CA");
    let long = DevCa::generate("long", YEAR).expect("a CA");
    let live = LiveCertificate::new(pair(&short, &["a"]));
    let before = live.not_after();
    let next = pair(&long, &["a"]);
    let leaf = next.leaf().to_vec();
    live.replace(next);
    assert!(live.not_after() > before);
    assert_eq!(live.current().expect("a pair").leaf(), leaf);
}

#[test]
fn a_client_authority_that_is_none_is_refused() {
    let ca = DevCa::generate("t", YEAR).expect("a CA");
    let live = LiveCertificate::new(pair(&ca, &["a"]));
    for bad in [b"".as_slice(), b"nonsense", pem("CERTIFICATE", b"x").as_bytes()] {
        assert!(matches!(server_config(live.clone(), Some(bad)), Err(CertificateError::ClientCa)));
    }
}

#[test]
fn what_is_debugged_shows_no_key() {
    let ca = DevCa::generate("t", YEAR).expect("a CA");
    let shown = format!("{:?}", LiveCertificate::new(pair(&ca, &["a"])));
    assert!(!shown.to_lowercase().contains("key"), "{shown}");
}
