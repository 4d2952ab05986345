"""Connectors against real targets; no Django is needed here."""
