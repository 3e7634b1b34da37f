"""The business: prices, contracts, months due, invoices and payments."""
