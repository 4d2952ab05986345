"""Reads. Every page, report and service finds its data here; nothing here writes."""
