"""The NBD protocol that volumes are served with."""
