"""The node's daemon: observe, diff, apply, report."""
