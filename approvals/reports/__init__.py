"""Reports for compliance: one module each, made by a small frame that pages and downloads share.

`registry` lists them, `frame` is what a report is, `tables` writes CSV, `figures` are the numbers
above the list.
"""
