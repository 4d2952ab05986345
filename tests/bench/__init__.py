"""`make bench`: what the design promises, measured beside a floor from the same run.

Each bench is a module with `run(ground, size) -> list[Row]`. It drives child processes that are set
up as the portal's own are: their own Django, the app role, a durable PostgreSQL. The parent knows
no Django. Floor and ours are measured in turns, several times; medians and paired ratios are shown,
so that a neighbour on the same machine disturbs both alike.
"""
