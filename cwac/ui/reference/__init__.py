"""Parts of the Reference page."""
