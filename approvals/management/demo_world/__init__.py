"""The demo's world: its people, what they can ask for, their past, and what waits today.

All of it is made through the services that pages use; only the moments are made up.
"""
