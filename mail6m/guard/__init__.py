"""Who and what is trusted: spam, senders, recipients, clients."""
