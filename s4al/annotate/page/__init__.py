"""The labelling page: a small server on this machine, and one page in a browser that shows a region at a time.

`serve` runs it, `app` is its HTTP interface, `desk` what is behind it: who labels which region, and where answers go.
"""
