//! Memory needed to judge files of the largest size that operators have.

use crate::in_own_process;
use crate::yaml::{cost, largest_texts};
use fabric_gossip::msp::Msp;
use fabric_gossip::testing::cryptogen::Org;
use std::fs;

/// Bound for judging one file of at most 1 MiB.
const MAX_GROWTH_KIB: u64 = 100 << 10;

/// Size of the files.
const SIZE: usize = 1 << 20;

/// Returns the largest resident size of this process since the last reset.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Returns by how much `judge` raises the largest resident size, in KiB.
fn growth(judge: impl FnOnce()) -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    judge();
    peak_kib() - before
}

#[test]
fn a_file_of_the_largest_size_takes_less_than_a_hundred_mebibytes() {
    in_own_process!();
    if fs::write("/proc/self/clear_refs", "5").is_err() {
        return fabric_gossip::testing::skip("peaks of memory", "/proc/self/clear_refs cannot be written");
    }
    for (what, text) in largest_texts() {
        let grown = growth(|| _ = cost(&text));
        assert!(grown < MAX_GROWTH_KIB, "{what}: {grown} KiB");
    }

    let folder = std::env::temp_dir().join(format!("fabric-gossip-limits-{}", std::process::id()));
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    org.peer("peer0").unwrap().write_msp(&folder).unwrap();
    let certificate = fs::read_dir(folder.join("cacerts")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&certificate).unwrap();
    for (what, at, content) in [
        ("certificates", &certificate, text.repeat(SIZE / text.len())),
        (
            "a certificate that does not end",
            &certificate,
            format!("{text}-----BEGIN CERTIFICATE-----\n{}", "A".repeat(SIZE)),
        ),
        ("no PEM", &certificate, "x".repeat(SIZE)),
        (
            "a revocation list",
            &folder.join("crls/list.pem"),
            format!("-----BEGIN X509 CRL-----\n{}", "MIIB\n".repeat(SIZE / 5)),
        ),
    ] {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
        let grown = growth(|| drop(Msp::load(&folder, "Org1MSP")));
        assert!(grown < MAX_GROWTH_KIB, "{what}: {grown} KiB");
        fs::write(&certificate, &text).unwrap();
    }
    fs::remove_dir_all(&folder).unwrap();
}
