"""The web page of finished runs."""
