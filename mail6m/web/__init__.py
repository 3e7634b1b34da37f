"""The console: the only folder with HTML."""
