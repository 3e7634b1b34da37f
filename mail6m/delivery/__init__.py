"""The way out: from an accepted message to the hosts of its recipients, or back to its sender."""
