"""Reports for compliance: one module each, made by a small frame that pages and files share.

`registry` lists them. `frame` is what a report is, `query` makes one of an SQL query, `figures` and
`charts` are the numbers and bars above the lists. `files` takes a report away as CSV (`tables`),
`spreadsheets` and `documents` as XLSX and PDF, `evidence` as a pack with samples (`sampling`) and
their proofs (`trails`).
"""
