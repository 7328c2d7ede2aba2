"""Replacing the layers of a network as a plan says."""
