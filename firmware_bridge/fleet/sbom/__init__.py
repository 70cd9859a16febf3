"""The software that a device runs with a bundle, as a bill of materials and as a table.

In: a bundle and what is installed beside this program. Out: CycloneDX JSON, Markdown, findings of
advisories. Imported by the shell alone.
"""
