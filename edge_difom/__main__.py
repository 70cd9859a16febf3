"""Run the command line: `python -m edge_difom` is `edge-difom`."""

from edge_difom.cli.main import main

main()
