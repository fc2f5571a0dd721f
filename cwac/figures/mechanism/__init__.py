"""Figures of the Weight drift page."""
