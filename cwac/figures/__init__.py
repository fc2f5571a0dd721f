"""Tables in, plotly figures out: named after the pages, in one style."""
