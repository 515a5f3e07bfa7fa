"""Routes, one noun a file; no decisions here."""
