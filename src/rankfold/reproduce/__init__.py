"""Declared grids of compressions: trained once, mapped for every array, compared by measured points."""
