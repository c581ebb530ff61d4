"""Operations with several tiers: a folder per operation, see README.md."""
