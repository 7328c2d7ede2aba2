"""Accuracy after training, learnt from networks that were planned and trained."""
