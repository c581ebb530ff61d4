// Steps of stochastic gradients on factors, compiled once for each instruction set. See sgd.py for the meaning.

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
    float *bias;                   // of columns, or null
    float *flip_user, *flip_item;  // NBPO's P and Q, or null
    int blocks;
    int bias_shift = 0;  // log2 of how far apart the biases of two columns lie
};

struct Rates {
    float step, user, positive, negative, bias;  // step size; L2 of each row that a step touches
    float flip, flip_rate;                       // L2 of P and Q; the constant rate
};

// Draws of one block: pairs (user, column), negatives by a table of `items` columns or uniform. Biases are by column.
struct Block {
    const Pair *pairs;
    Word size;
    const Column *table;       // null: uniform
    const std::int32_t *item;  // which item a column is; null: itself
    Word items;
    Word key;
    int attempts;  // of a negative; 1: none is drawn again
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
