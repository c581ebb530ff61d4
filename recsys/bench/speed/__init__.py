"""The speed of recommenders beside their peers."""
