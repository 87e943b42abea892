"""One HTML page that shows a run, and its figures as JSON."""
