"""Compare this project with other runtimes, each in a separate process, in one interleaved run."""
