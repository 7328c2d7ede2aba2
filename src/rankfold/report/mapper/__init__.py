"""The page on which a network's layers are stepped through, array by array."""
