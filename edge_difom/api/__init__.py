"""The functions behind `import edge_difom as ed`; import them from there."""
