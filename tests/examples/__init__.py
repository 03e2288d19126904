"""The systems under `examples/`, run as their READMEs say."""
