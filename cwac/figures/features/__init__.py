"""Figures of the SAE features page."""
