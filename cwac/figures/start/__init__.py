"""The figures of the Start page, a file per tab."""
