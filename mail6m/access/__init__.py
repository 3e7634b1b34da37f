"""Who may use the console: passwords, second factors, sessions, and brakes on guessing."""
