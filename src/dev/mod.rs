//! `everstep dev`: manifests on this machine, without a cluster.
