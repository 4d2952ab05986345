"""What makes and removes access on target systems: one folder per kind of target.

Connectors sit at the bottom of the house. They know nothing of requests, policies or models; they
are told a `protocol.GrantSpec` and answer with a `protocol.Receipt` or an error that says whether
trying again can help. Only `approvals.services.provisioning` (and the system checks) call them.
"""
