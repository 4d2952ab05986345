"""The rules of the portal as pure functions of data: no framework, no database, no clock."""
