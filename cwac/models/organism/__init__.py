"""The bundled model organism: its world, its tasks, its tokenizer and its settings, nothing else."""
