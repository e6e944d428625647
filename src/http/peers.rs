//! The other end of a connection, and whose word about the outside is believed (`studies.md` §1.7).
//!
//! Invariant: without a setting nobody is believed; what is believed is still checked (`urls`).
//! Elsewhere: where connections come from (`server`).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The two ends of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Who is connected.
    pub(super) peer: IpAddr,
    /// Where it is connected to.
    pub(super) local: SocketAddr,
}

/// An address, or a range of them in CIDR notation: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is neither an address nor a range such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| bad())?)),
        };
        let given: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if given.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.unwrap_or(most);
        if bits > most {
            return Err(bad());
        }
        let address = given.to_canonical();
        let bits = if address == given { Some(bits) } else { bits.checked_sub(128 - 32) };
        Ok(Self { address, bits: bits.ok_or_else(bad)? })
    }
}

impl Network {
    /// Whether the address lies in it. An IPv4 address is the same in the IPv6 form that sockets give it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - self.bits;
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - self.bits;
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.0.0.7/8", "10.1.1.1", "9.0.0.7"),
            ("192.168.1.128/25", "192.168.1.200", "192.168.1.5"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("::ffff:10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdab::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let holds = |address: &str| network.parse::<Network>().unwrap().holds(address.parse().unwrap());
            assert!(holds(inside), "{network} holds {inside}");
            assert!(!holds(outside), "{network} does not hold {outside}");
        }
        for bad in [
            "",
            "proxy",
            "10.0.0.0/33",
            "::/129",
            "::ffff:10.0.0.0/95",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
