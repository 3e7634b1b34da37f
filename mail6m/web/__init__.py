"""The console: the only folder with HTML. For now, what machines look at."""
