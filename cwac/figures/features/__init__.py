"""Figures of the Features page."""
