"""Parts of the Refusal page."""
