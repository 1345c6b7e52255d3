//! Who may talk to a role, and whom it may talk to, beside the other roles.

use alys_proto::Role;

use super::{Offer, fill, offers};

const BITCOIND: &str = "egress:
  # bitcoind: the overlay says on which port.
  - ports:
      - port: 8332
";

const PEERS: &str = "egress:
  # Peers may listen anywhere, on any port, but not inside of this cluster's private networks.
  - to:
      - ipBlock:
          cidr: 0.0.0.0/0
          except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]
";

const WALLETS: &str = "ingress:
  # It has no access control of its own: only pods with this label, unless the overlay opens it.
  - from:
      - podSelector:
          matchLabels:
            alys.access/eth-rpc: \"true\"
    ports:
      - port: eth-rpc
";

/// The network policy of a role.
pub(super) fn network_policy(role: Role) -> String {
    let ingress = match (role, offers(role)) {
        (Role::Engine, _) => WALLETS.to_owned(),
        (_, []) => "ingress: []\n".to_owned(),
        // Members of the federation prove who they are by certificate, peers by key.
        (_, offered) => {
            let port = |Offer { name, protocol, .. }: &Offer| format!("      - port: {name}\n        protocol: {protocol}\n");
            format!("ingress:\n  - ports:\n{}", offered.iter().map(port).collect::<String>())
        }
    };
    let egress = match role {
        Role::Bridge => BITCOIND,
        Role::Network => PEERS,
        _ => "egress: []\n",
    };
    fill(include_str!("policy.yaml"), &[("ROLE", role.name()), ("INGRESS", &ingress), ("EGRESS", egress)])
}
