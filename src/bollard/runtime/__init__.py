"""What the daemons run on alike: time and chance, and the two ends of a link. It knows none of them."""
