"""Looking at a network on data: moments, signs, sensitivities, batch norm."""
