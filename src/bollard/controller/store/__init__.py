"""Where the cluster is kept: one Protocol, three adapters."""
