//! A signed assertion: a JSON Web Token (RFC 7519) with RS256, by which a client proves who it is without sending its
//! key.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::base::error::{Error, ErrorKind};
use crate::json::write;

/// An assertion is valid from this many seconds before it is made, since the server's clock may be a little behind.
const BEFORE: i64 = 5;
/// And until this many seconds after. Segment accepts less than 60.
const AFTER: i64 = 55;

/// A private RSA key.
pub(crate) struct Key(RsaKeyPair);

impl Key {
    /// Reads a key in PEM, PKCS#8 or PKCS#1. The error's sentence continues the name of the argument.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, Error> {
        if pem.contains("ENCRYPTED") {
            return Err(Error::invalid("must not be encrypted"));
        }
        let pair = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(Error::invalid(NO_KEY)),
        };
        pair.map(Key).map_err(|rejected| {
            Error::invalid(match rejected.to_string().as_str() {
                "TooSmall" => "must have at least 2048 bits",
                "TooLarge" => "must have at most 4096 bits",
                _ => NO_KEY,
            })
        })
    }
}

const NO_KEY: &str = "must be an RSA key in PEM, PKCS#8 or PKCS#1";

/// What an assertion says.
pub(crate) struct Claims<'a> {
    /// Which of the public keys that the server knows checks the signature.
    pub(crate) key_id: &'a str,
    /// The issuer and the subject.
    pub(crate) client_id: &'a str,
    /// The URL of the server.
    pub(crate) audience: &'a str,
    /// An id that no other assertion has.
    pub(crate) id: &'a str,
    /// The time, in seconds since 1970, by the server's clock.
    pub(crate) now: i64,
}

impl Claims<'_> {
    /// The header and the claims as they are signed: two JSON objects in base64 with a dot between them.
    fn encoded(&self) -> String {
        let mut header = br#"{"alg":"RS256","typ":"JWT","kid":"#.to_vec();
        write::string(&mut header, self.key_id);
        header.push(b'}');

        let mut claims = Vec::new();
        let texts = [("{\"iss\":", self.client_id), (",\"sub\":", self.client_id), (",\"aud\":", self.audience)];
        for (name, text) in texts.into_iter().chain([(",\"jti\":", self.id)]) {
            claims.extend_from_slice(name.as_bytes());
            write::string(&mut claims, text);
        }
        for (name, time) in [(",\"iat\":", self.now - BEFORE), (",\"exp\":", self.now + AFTER)] {
            claims.extend_from_slice(name.as_bytes());
            write::int(&mut claims, time);
        }
        claims.push(b'}');

        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    /// The assertion.
    pub(crate) fn sign(&self, key: &Key) -> Result<String, Error> {
        let mut token = self.encoded();
        let mut signature = vec![0; key.0.public().modulus_len()];
        key.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| Error::new(ErrorKind::Internal, "oauth: private_key could not sign"))?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}
