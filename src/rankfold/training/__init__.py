"""Data, fine-tuning and checkpoints."""
