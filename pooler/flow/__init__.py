"""From delivery to outcome: intake, remotes with their lanes and workers, retries, the finisher."""
