"""The report of a run: its plots and the page that shows them, one file that opens offline."""
