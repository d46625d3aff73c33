"""Training: everything that needs torch. Imported only by what trains, never by what runs a whole experiment."""
