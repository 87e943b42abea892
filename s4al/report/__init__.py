"""One HTML page that shows a run, and its figures as JSON: read from committed folders, without torch or an engine."""

from s4al.report.write import write_report as write_report
