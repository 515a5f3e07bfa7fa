"""One file a provider or layer, the same verbs in each."""
