"""Operations with tiers: `<op>.py` is the door, `<op>_reference.py` the meaning, `<op>_native.cpp` the CPU tier."""
