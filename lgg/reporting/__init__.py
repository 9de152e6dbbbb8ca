"""Tables and figures, made from small files; nothing here imports torch."""
