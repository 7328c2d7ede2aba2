"""What each layer of a network becomes under budgets, from data."""
