"""What connectors to AWS share: keys, addresses, time limits and what errors mean. No connector."""
