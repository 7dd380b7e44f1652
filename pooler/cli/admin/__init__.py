"""Commands that ask a running service: a person types `remote` and `top`, `api` asks, `view` shows."""
