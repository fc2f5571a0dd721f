"""Figures of the Requests page."""
