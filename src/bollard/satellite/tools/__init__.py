"""Command lines and parsers of external tools. Pure."""
