"""Images: data sources, storage, corruptions, and batches for training."""
