//! temp
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendKind {
    #[default]
    Ipset,
    Nftables,
    DryRun,
}
impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ipset => "ipset",
            Self::Nftables => "nftables",
            Self::DryRun => "dry-run",
        })
    }
}
impl std::str::FromStr for BackendKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "ipset" => Self::Ipset,
            "nftables" => Self::Nftables,
            "dry-run" => Self::DryRun,
            _ => {
                return Err(format!(
                    "unknown backend {s:?}, one of ipset, nftables, dry-run is needed"
                ));
            }
        })
    }
}
