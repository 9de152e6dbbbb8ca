"""Images: where they come from, the files they are kept in, and the batches that training reads."""
