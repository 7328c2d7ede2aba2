"""Plans for a described chip, within budgets that hold on it."""
