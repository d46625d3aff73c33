"""Which trials stop early: the rules, a file each, and the ledger's rung entries that they go by. Pure."""
