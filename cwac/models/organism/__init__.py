"""The bundled model organism: its world, tasks, tokenizer and settings, nothing else."""
