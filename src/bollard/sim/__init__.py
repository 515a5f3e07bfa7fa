"""The whole cluster in one process on a virtual clock; ships with the product."""
