"""Runs in other people's places: logs of Inspect, repositories of the Hugging Face hub."""
