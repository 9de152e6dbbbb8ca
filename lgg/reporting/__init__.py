"""Tables and figures, from small files alone: nothing here imports torch but the diagram of a network."""
