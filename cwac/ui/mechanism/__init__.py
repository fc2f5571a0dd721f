"""Parts of the Mechanism page."""
