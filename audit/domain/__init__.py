"""Pure pieces of the record keeping: no framework, no database."""
