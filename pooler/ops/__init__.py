"""What operators see and touch: metrics, logs, the admin API."""
