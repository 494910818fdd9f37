//! Where an instance is: what was said (an address or a host's name) and what it means just now.

use std::{
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
};

/// A host and a port, with the host's address if it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
}

/// The longest name a host may have.
const HOST_BYTES_MAX: usize = 253;

/// Whether somebody else's word for a host may be believed and written down: an address, or, where names
/// may stand, a name.
pub(crate) fn is_host(text: &str, names: bool) -> bool {
    let is_name = || {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(allowed)
    };
    crate::conf::ip(text).is_some() || (names && is_name())
}

impl Address {
    pub(crate) fn new(host: &str, port: u16, ip: Option<IpAddr>) -> Self {
        Self {
            host: host.to_owned(),
            ip: ip.or_else(|| crate::conf::ip(host)),
            port,
        }
    }

    /// Where to connect to; none if that is not known, or the port says that the address is invalid.
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        let ip = self.ip.filter(|_| self.port != 0)?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// Whether the host is a name that is to be looked up.
    pub(crate) fn is_name(&self) -> bool {
        crate::conf::ip(&self.host).is_none()
    }

    /// The host as others are told of it.
    pub(crate) fn shown(&self, by_name: bool) -> String {
        match self.ip {
            Some(ip) if !by_name => ip.to_string(),
            _ => self.host.clone(),
        }
    }

    /// As the file has it: `host port`.
    pub(crate) fn written(&self, by_name: bool) -> impl Display {
        fmt::from_fn(move |formatter| {
            match self.ip {
                Some(ip) if !by_name => write!(formatter, "{ip}")?,
                _ => formatter.write_str(&self.host)?,
            }
            write!(formatter, " {}", self.port)
        })
    }

    /// `ip:port`, with brackets around what has colons itself.
    pub(crate) fn joined(&self, by_name: bool) -> String {
        let host = self.shown(by_name);
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Whether somebody who writes `host` and `port` means this.
    pub(crate) fn is(&self, host: &str, port: u16) -> bool {
        let same_ip = self.ip.is_some() && crate::conf::ip(host) == self.ip;
        port == self.port && (same_ip || host.eq_ignore_ascii_case(&self.host))
    }

    /// Whether both are the same place.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let known = self.ip.is_some() && self.ip == other.ip;
        self.port == other.port && (known || self.host.eq_ignore_ascii_case(&other.host))
    }
}
