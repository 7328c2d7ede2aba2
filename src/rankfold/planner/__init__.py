"""Chooses what every layer becomes under a budget: candidates with their costs, an exact choice, the whole front."""
