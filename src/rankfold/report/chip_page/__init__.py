"""The web page of a network on a described chip."""
