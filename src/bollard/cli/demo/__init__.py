"""`bollard demo`: a real cluster on one machine that loses a node and no data."""
