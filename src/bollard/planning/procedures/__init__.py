"""Work across nodes as tables of phases."""
