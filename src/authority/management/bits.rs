//! Permission bits and their names, as the Crypteron API has them.

use crate::keyring::Permissions;

/// Every bit that has a meaning, lowest first.
pub const NAMES: [(u32, &str); 15] = [
    (0x1, "AllowRead"),
    (0x2, "AllowWrite"),
    (0x4, "AllowDecrypt"),
    (0x8, "AllowEncrypt"),
    (0x10, "AllowSign"),
    (0x20, "AllowVerify"),
    (0x40, "AllowWrap"),
    (0x80, "AllowUnwrap"),
    (0x100, "AllowDeriveKey"),
    (0x200, "AllowDeriveBits"),
    (0x400, "EnforceMask"),
    (0x1_0000, "AuditOnKeyRead"),
    (0x2_0000, "AuditOnKeyWrite"),
    (0x4_0000, "AuditOnDecrypt"),
    (0x8_0000, "AuditOnEncrypt"),
];

/// The names of the bits that are set.
pub fn names(permissions: Permissions) -> Vec<&'static str> {
    NAMES.iter().filter(|(bit, _)| permissions.has(*bit)).map(|(_, name)| *name).collect()
}

/// The bit of this name.
pub fn bit(name: &str) -> Option<u32> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(bit, _)| *bit)
}

/// Whether no bit is set that means nothing.
pub fn all_known(bits: u32) -> bool {
    NAMES.iter().fold(bits, |left, (bit, _)| left & !bit) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_names_of_the_outside_api() {
        let default =
            ["AllowDecrypt", "AllowEncrypt", "AuditOnKeyRead", "AuditOnKeyWrite", "AuditOnDecrypt", "AuditOnEncrypt"];
        assert_eq!(names(Permissions::DEFAULT), default);
        assert_eq!(default.iter().filter_map(|name| bit(name)).sum::<u32>(), 983_052);
        assert_eq!(bit("AllowAll"), None);
        assert!(all_known(0xf_07ff) && !all_known(0x800) && !all_known(1 << 31));
    }
}
