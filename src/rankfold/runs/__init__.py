"""Whole runs: from a network and data to the files of a result."""
