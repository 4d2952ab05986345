"""See each command's `--help`."""
