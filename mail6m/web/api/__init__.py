"""The API: what customers' programs may ask for and do, by HTTP and JSON. Never a content."""
