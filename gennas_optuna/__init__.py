"""GenNAS: a fast objective for neural architecture search, without labels and without training."""
