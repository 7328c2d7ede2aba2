"""Tables, pictures and the web page of finished runs."""

from rankfold.report.page import check_page, write_report
from rankfold.report.runs import Run, load_run, method_name, summary_rows, summary_table
from rankfold.report.table import format_table

__all__ = ["Run", "check_page", "format_table", "load_run", "method_name", "summary_rows", "summary_table", "write_report"]
