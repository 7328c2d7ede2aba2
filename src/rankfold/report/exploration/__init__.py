"""Points of a space as tables, CSV files and a page to brush through."""
