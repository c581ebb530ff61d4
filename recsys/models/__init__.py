"""Models that learn by gradients."""
