"""Tables and figures, from small files alone: nothing here imports torch."""
