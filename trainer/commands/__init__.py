"""One module per command of `python -m trainer`: reads its options, calls the library, prints."""
