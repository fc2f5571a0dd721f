"""Starting a run: the form, its preview, and the jobs."""
