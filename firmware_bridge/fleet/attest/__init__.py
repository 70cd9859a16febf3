"""Attestations of a bundle that others can check: OpenSSF model signing, in-toto and SLSA.

In: a bundle, a signer. Out: statements in DSSE envelopes, each in a Sigstore bundle, and the
outcome of their check. The reference verifiers (`model_signing`, `securesystemslib.dsse`) read the
same files. Imported by the shell.
"""
