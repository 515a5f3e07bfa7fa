"""The tables of properties that may be set: key, kind, scopes, values, default."""
