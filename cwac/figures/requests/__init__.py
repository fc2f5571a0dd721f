"""Figures of the Refusal page."""
