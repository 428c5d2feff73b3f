//! The health of a running peer, in the form of Fabric's `/healthz`.

use crate::rfc3339;
use fabric_gossip::metrics::CommSnapshot;
use serde_json::json;
use std::time::SystemTime;

/// The checks that failed: the component and the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Health(Vec<(&'static str, &'static str)>);

impl Health {
    /// Checks what makes a peer useless to others: its certificates have expired.
    pub fn new(metrics: &CommSnapshot) -> Health {
        let checks = [
            (
                "identity",
                metrics.gossip_comm_identity_expires_in,
                "our identity has expired: enroll it again and restart",
            ),
            ("tls", metrics.gossip_comm_tls_expires_in, "our TLS certificate has expired: replace it and send SIGHUP"),
        ];
        let failed = checks.into_iter().filter(|(_, expires_in, _)| expires_in.is_some_and(|seconds| seconds <= 0));
        Health(failed.map(|(component, _, reason)| (component, reason)).collect())
    }

    pub fn is_ok(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the page.
    pub fn json(&self) -> String {
        let status = if self.is_ok() { "OK" } else { "Service Unavailable" };
        let mut page = json!({"status": status, "time": rfc3339::micros(SystemTime::now())});
        if !self.is_ok() {
            let failed = self.0.iter().map(|(component, reason)| json!({"component": component, "reason": reason}));
            page["failed_checks"] = failed.collect();
        }
        format!("{page}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_certificate_is_a_failed_check() {
        let mut metrics = CommSnapshot::default();
        assert!(Health::new(&metrics).is_ok());
        (metrics.gossip_comm_identity_expires_in, metrics.gossip_comm_tls_expires_in) = (Some(1), Some(1));
        let page = Health::new(&metrics).json();
        assert!(page.starts_with(r#"{"status":"OK","time":""#) && !page.contains("failed_checks"), "{page}");
        metrics.gossip_comm_tls_expires_in = Some(0);
        let health = Health::new(&metrics);
        let page: serde_json::Value = serde_json::from_str(&health.json()).unwrap();
        assert_eq!((health.is_ok(), &page["status"]), (false, &"Service Unavailable".into()));
        assert_eq!(page["failed_checks"].as_array().unwrap().len(), 1);
        assert_eq!(page["failed_checks"][0]["component"], "tls");
        metrics.gossip_comm_identity_expires_in = Some(-5);
        assert_eq!(Health::new(&metrics).0.len(), 2);
    }
}
