"""Figures of the Results page."""
