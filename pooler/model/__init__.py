"""What is copied and how it ended, as plain values: no input, no output."""
