"""The models that have a name: the bundled organism first."""
