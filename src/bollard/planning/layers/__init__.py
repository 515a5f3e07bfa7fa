"""Size arithmetic and order rules of one layer each. Pure."""
