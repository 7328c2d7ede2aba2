"""Pages, pictures and tables of Pareto fronts."""
