"""Tables, pictures and the web page of finished runs."""

from rankfold.report.page import write_report
from rankfold.report.runs import Run, load_run, method_name, summary_rows, summary_table
from rankfold.report.table import format_table

__all__ = ["Run", "format_table", "load_run", "method_name", "summary_rows", "summary_table", "write_report"]
