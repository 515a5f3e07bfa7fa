"""Public REST records, one noun a file."""
