"""Tables in, tables out: rates, tests and comparisons that views draw; draws nothing itself."""
