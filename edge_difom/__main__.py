"""`python -m edge_difom` is the command `edge-difom`."""

from edge_difom.cli.main import main

main()
