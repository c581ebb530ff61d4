"""The benchmark of local clustering: a seed node, noisy labels, and the class of the seed as the cluster to find."""
