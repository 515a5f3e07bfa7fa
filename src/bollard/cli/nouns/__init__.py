"""One file a noun: arguments, call, columns."""
