"""What searches that learn and stop early are worth: a question to a file, beside what people use otherwise."""
