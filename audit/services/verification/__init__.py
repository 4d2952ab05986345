"""What verification consists of; `audit.services.verifying` puts it together."""
