//! A certificate authority for development, tests and `scalegate try`. Everything stays in memory here: whoever writes
//! the keys to files makes them readable to the owner alone.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// How far back certificates begin, so that a clock that is a little behind takes them.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// A throw-away authority. Its key never leaves memory unless asked for.
pub struct DevCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    not_after: SystemTime,
}

/// A server certificate with its key, both PEM.
pub struct Issued {
    /// The certificate followed by its authority.
    pub chain_pem: String,
    /// PKCS#8. Secret.
    pub key_pem: String,
}

impl DevCa {
    /// Makes an authority called `name` that holds for `validity` from now (and from an hour ago).
    ///
    /// # Errors
    /// When the key or certificate cannot be made.
    pub fn generate(name: &str, validity: Duration) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let not_after = dates(&mut params, validity);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, not_after })
    }

    /// Issues a server certificate for DNS names and IP addresses, holding as long as the authority does. The API
    /// server looks at these names alone, never at the common name.
    ///
    /// # Errors
    /// When a name is neither a DNS name nor an address, or the certificate cannot be made.
    pub fn issue(&self, names: &[&str]) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        // A subject that fits every name: a common name may have 64 characters only.
        params.distinguished_name.push(DnType::CommonName, "scalegate webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Both ways, so that a test of mutual TLS needs no second kind.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let left = self.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        dates(&mut params, left);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { chain_pem: certificate.pem() + &self.issuer.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority's certificate, PEM: what goes into `caBundle`.
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// The authority's key, PKCS#8 PEM. Secret: only needed to go on issuing later.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

/// Sets both dates and says when it ends.
fn dates(params: &mut CertificateParams, validity: Duration) -> SystemTime {
    let now = SystemTime::now();
    let not_after = now + validity;
    params.not_before = (now - BACKDATED).into();
    params.not_after = not_after.into();
    not_after
}
