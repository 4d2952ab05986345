"""Use cases. Each public function is one thing that somebody does; pages, API and tasks call them.

Writers run in one transaction that holds the revision, the decision and the outbox rows together.
Only `provisioning` talks to targets and only `notifications` to people, never in a transaction.
"""
