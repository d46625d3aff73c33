"""Files on a volume of a cluster: copied in and out through a short-lived pod, with the user's own kubectl."""
