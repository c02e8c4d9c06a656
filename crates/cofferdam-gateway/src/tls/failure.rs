//! Handshakes that fail, in words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// Why a handshake with a program failed.
pub(crate) fn of_program(error: &io::Error) -> String {
    let distrust = |alert: &str| {
        format!("the program does not trust this run's certificate authority ({alert}): see tls = \"passthrough\"")
    };
    match tls(error) {
        Some(Error::AlertReceived(AlertDescription::UnknownCA)) => distrust("unknown_ca"),
        Some(Error::AlertReceived(AlertDescription::BadCertificate)) => distrust("bad_certificate"),
        Some(Error::AlertReceived(AlertDescription::CertificateUnknown)) => distrust("certificate_unknown"),
        Some(Error::AlertReceived(alert)) => format!("the program ended the TLS handshake: {alert:?}"),
        Some(other) => format!("the program's TLS handshake failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the program closed the connection during the TLS handshake: it may not trust this run's certificate \
             authority"
                .to_owned()
        }
        None => format!("the TLS handshake with the program broke off: {error}"),
    }
}

/// Why a handshake with a server failed.
pub(crate) fn of_server(host: &str, error: &io::Error) -> String {
    match tls(error) {
        Some(Error::InvalidCertificate(problem)) => format!("certificate of {host}: {}", certificate(problem)),
        Some(Error::AlertReceived(alert)) => format!("{host} ended the TLS handshake: {alert:?}"),
        Some(other) => format!("TLS with {host} failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("{host} closed the connection during the TLS handshake")
        }
        None => format!("TLS with {host} broke off: {error}"),
    }
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "signed by an authority that this machine does not trust".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "made out to another name".to_owned()
        }
        CertificateError::Revoked => "revoked".to_owned(),
        other => other.to_string(),
    }
}
