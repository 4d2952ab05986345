"""People, their groups and managers."""
