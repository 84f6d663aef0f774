"""Whether this machine and folder are fit to run the system: checks that change nothing and ask no provider."""
