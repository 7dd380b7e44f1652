"""The admin API, on Quart-Trio and Hypercorn."""
