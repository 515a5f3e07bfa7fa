"""One function for each command: command and cluster in, changes out."""
