"""Links to satellites."""
