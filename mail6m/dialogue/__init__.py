"""SMTP as a pure machine, both ends of it: bytes in, events out; answers in, bytes out. No I/O.

`server` is the end that receives (RFC 5321), `client` the end that sends, `address` reads
paths, `transparency` knows what ends a message and what must not be in one.
"""
