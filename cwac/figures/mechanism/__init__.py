"""Figures of the Mechanism page."""
