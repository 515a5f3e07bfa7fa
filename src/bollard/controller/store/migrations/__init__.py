"""Numbered changes of the stored form."""
