"""This project beside other projects' runtimes, each in a process of its own, in one interleaved run."""
