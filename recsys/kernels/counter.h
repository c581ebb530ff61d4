// Counter-based random numbers: word c of stream `key`. There is no state, so results do not depend on which thread draws.
//
// The word is SplitMix64's (Steele, Lea and Flood 2014): the counter steps by the odd number nearest to 2^64 over the
// golden ratio, and two multiplications mix it. It takes a third of the time of Philox 4x32-10, needs 64-bit arithmetic
// only (so that NumPy gives the same bits), and its streams pass BigCrush. Two streams of random keys are distinct parts
// of one cycle of 2^64 words: the parts drawn here are too short to overlap.

#pragma once

#include <cstdint>

namespace recsys {

using Word = std::uint64_t;

inline Word word(Word key, Word counter) {
    Word z = key + (counter + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// floor(w n / 2^64): from 0 to n - 1, n < 2^31; probabilities differ from uniform by at most n / 2^64.
inline Word below(Word w, Word n) { return ((w >> 32) * n + (((w & 0xFFFFFFFFu) * n) >> 32)) >> 32; }

// A column of an alias table: itself if the fraction (of 2^32) is below `keep`, otherwise `other`.
struct Column {
    std::uint32_t keep;
    std::int32_t other;
};

// The integer part of w n / 2^64 selects the column, the fraction decides within it.
inline std::int32_t weighted(Word w, const Column *table, Word n) {
    const auto at = static_cast<std::int32_t>(below(w, n));
    const auto fraction = static_cast<std::uint32_t>((w * n) >> 32);
    return fraction < table[at].keep ? at : table[at].other;
}

// Known items of users: rows of bits (words of 64 items), or sorted columns.
struct Known {
    const std::int64_t *rowptr;
    const std::int32_t *col;
    // Null: search the columns.
    const std::uint64_t *bits;
    // Words per row.
    std::int64_t words;

    const std::uint64_t *place(std::int64_t user, std::int32_t item) const { return bits + user * words + (item >> 6); }
    bool has(std::int64_t user, std::int32_t item) const {
        if (bits != nullptr) return (*place(user, item) >> (item & 63)) & 1;
        const std::int32_t *low = col + rowptr[user];
        std::int64_t size = rowptr[user + 1] - rowptr[user];
        // Binary search for the first column that is not below the item.
        while (size > 0) {
            const std::int64_t half = size / 2;
            if (low[half] < item) {
                low += half + 1;
                size -= half + 1;
            } else {
                size = half;
            }
        }
        return low < col + rowptr[user + 1] && *low == item;
    }
    void fetch(std::int64_t user, std::int32_t item) const {
        if (bits != nullptr) __builtin_prefetch(place(user, item));
    }
};

}  // namespace recsys
