// Stochastic gradient steps on factors, compiled once for each instruction set; __init__.py defines the steps.

#pragma once

#include <cstdint>

#include "counter.h"

namespace recsys {

struct Pair {
    std::int32_t user, item;
};

enum class Rule : int { bpr = 0, bpo = 1, nbpo = 2, nbpo_constant = 3 };

// Rows of factors are `blocks` times 16 floats, unused ones 0.
struct Factors {
    float *user, *item;
    // Per column, or null.
    float *bias;
    // NBPO's P and Q, or null.
    float *flip_user, *flip_item;
    int blocks;
    // log2 of the distance between the biases of two columns.
    int bias_shift = 0;
};

struct Rates {
    // Step size; L2 of each row that a step changes.
    float step, user, positive, negative, bias;
    // L2 of P and Q; the constant rate.
    float flip, flip_rate;
};

// Draws of one block: pairs (user, column), negatives from a table of `items` columns or uniform. Biases are per column.
struct Block {
    const Pair *pairs;
    Word size;
    // Null for uniform draws.
    const Column *table;
    // Item of each column; null for itself.
    const std::int32_t *item;
    Word items;
    Word key;
    // Attempts per negative; with 1 none is drawn again.
    int attempts;
};

struct Tally {
    std::int64_t correct = 0, skipped = 0;
};

using Steps = void (*)(Rule, const Factors &, const Rates &, const Known &, const Block &, Word first, Word count, Tally &);
using Sigmoids = void (*)(const float *x, std::int64_t count, float *out);

void steps_baseline(Rule, const Factors &, const Rates &, const Known &, const Block &, Word, Word, Tally &);
void sigmoids_baseline(const float *, std::int64_t, float *);
#ifdef GRAPHNOISE_X86
void steps_v3(Rule, const Factors &, const Rates &, const Known &, const Block &, Word, Word, Tally &);
void steps_v4(Rule, const Factors &, const Rates &, const Known &, const Block &, Word, Word, Tally &);
void sigmoids_v3(const float *, std::int64_t, float *);
void sigmoids_v4(const float *, std::int64_t, float *);
#endif

}  // namespace recsys
