"""What Mail6M writes to people by itself: which letters there are, and when one is due."""
