"""GenNAS for NNI experiments."""
