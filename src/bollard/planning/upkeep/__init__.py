"""What the cluster keeps right by itself as time passes: a small reconciler a file, each with a switch."""
