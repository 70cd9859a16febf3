"""`python -m edge` is the command `edge-difom`."""

from edge.cli import main

main()
