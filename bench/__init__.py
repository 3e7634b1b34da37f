"""What `make bench` runs: Mail6M beside a private Postfix, its memory, a full archive."""
