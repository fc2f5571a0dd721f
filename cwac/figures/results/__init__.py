"""Figures of the Trade-off page."""
