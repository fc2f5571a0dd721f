"""What comes before a run: building the organism, aligning a model, fitting the yardstick."""
