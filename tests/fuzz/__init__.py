"""Coverage-guided fuzzing of everything that reads bytes from outside: `make fuzz MINUTES=5`.

Each target has a small corpus in `corpus/TARGET`, which a test replays. A crash that was found goes
there too, under a name that says what it was.
"""
