"""How the points of a search come about, an algorithm to a file. TPE's come from outside (trainer/suggesting)."""
