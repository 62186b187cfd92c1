//! The contract `fleet.v1`, and what both of its sides must do alike.
//!
//! [`v1`] is generated from `proto/fleet/v1/*.proto`; [`convert`] turns wire into model and back,
//! and is the only place where a message is read; [`tls`] has the one TLS setting of the fleet.

pub mod convert;
pub mod exit;
pub mod files;
pub mod logging;
pub mod pki;
mod redacted;
pub mod seal;
pub mod settings;
pub mod tls;

/// Generated messages and services.
pub mod v1 {
    #![expect(missing_docs, reason = "generated; the comments stand in the .proto files")]
    #![expect(clippy::allow_attributes_without_reason, reason = "generated")]
    #![expect(clippy::large_enum_variant, reason = "generated; one message at a time, never kept")]
    tonic::include_proto!("fleet.v1");

    /// The compiled contract, for the compatibility test.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("fleet.v1");
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 as lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}
