"""The controller: REST, one store, decisions; a shell around planning."""
