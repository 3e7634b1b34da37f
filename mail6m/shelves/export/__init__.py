"""What a customer takes along: all its mail in one file, of which any stretch can be made again."""
