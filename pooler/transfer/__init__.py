"""One attempt at a job: plan it, copy the bytes, check them, give the file its name."""
