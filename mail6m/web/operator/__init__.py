"""Exploitation: the pages of those who run Mail6M. None of them shows what is in a message."""
