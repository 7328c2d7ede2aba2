"""Plans found by measuring, where losses do not add up."""
