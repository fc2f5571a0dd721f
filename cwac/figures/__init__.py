"""Tables in, plotly figures out; one file per family, one style."""
