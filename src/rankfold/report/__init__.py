"""Tables, pictures and the web page of finished runs."""

from rankfold.report.methods import method_name
from rankfold.report.run_page.page import check_page, write_report
from rankfold.report.runs import Run, load_run
from rankfold.report.summary import summary_rows, summary_table

__all__ = [
    "Run",
    "check_page",
    "load_run",
    "method_name",
    "summary_rows",
    "summary_table",
    "write_report",
]
