"""What stands behind ``pooler job``: one module a command that is more than a question to the API."""
