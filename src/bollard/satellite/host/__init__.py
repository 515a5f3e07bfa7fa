"""The door to the machine: processes, files, the data process."""
