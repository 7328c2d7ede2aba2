"""A quantised network as array images."""
