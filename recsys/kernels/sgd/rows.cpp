// Row kernels of the steps, compiled once for each instruction set (GRAPHNOISE_ISA). A single step waits for the memory of
// its draw, not for arithmetic: draws are processed in windows of 64, and each stage prefetches for the next.

#include "sgd/rows.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "simd/row_vectors.h"

namespace recsys {
namespace {

using graphnoise::register_bytes;
using graphnoise::Vec;

constexpr int window = 64;
// Steps whose rows are prefetched.
constexpr int ahead = 6;
constexpr int lanes = 16;

// N floats in registers: GCC takes vectors that are longer than a register through memory, so these are two halves.
template <int N>
struct Halves;
template <int N>
using Floats = std::conditional_t<N * sizeof(float) <= register_bytes, Vec<float, N>, Halves<N / 2>>;
template <int N>
struct Halves {
    Floats<N> low, high;
};
template <int N>
INLINE Halves<N> operator+(const Halves<N> &a, const Halves<N> &b) {
    return {a.low + b.low, a.high + b.high};
}
template <int N>
INLINE Halves<N> operator-(const Halves<N> &a, const Halves<N> &b) {
    return {a.low - b.low, a.high - b.high};
}
template <int N>
INLINE Halves<N> operator*(const Halves<N> &a, const Halves<N> &b) {
    return {a.low * b.low, a.high * b.high};
}
template <int N>
INLINE Halves<N> operator*(float a, const Halves<N> &b) {
    return {a * b.low, a * b.high};
}

using Lanes = Floats<lanes>;

INLINE Lanes *row_of(float *table, std::int64_t row, int blocks) {
    return reinterpret_cast<Lanes *>(table + row * blocks * lanes);
}

using Quad = Vec<float, 4>;
using Bits = Vec<std::int32_t, 4>;

// The sum of both halves, then of theirs, until four lanes are left.
template <int N, class V>
INLINE Quad quarter(const V &v) {
    if constexpr (N == 4) {
        return v;
    } else if constexpr (std::is_same_v<V, Halves<N / 2>>) {
        return quarter<N / 2>(v.low + v.high);
    } else {
        Vec<float, N / 2> half[2];
        std::memcpy(half, &v, sizeof v);
        return quarter<N / 2>(half[0] + half[1]);
    }
}

INLINE float sum_of(Lanes v) {
    const Quad q = quarter<lanes>(v);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

// The sums of four vectors, each as `sum_of` has it.
INLINE Quad sums_of(Lanes a, Lanes b, Lanes c, Lanes d) {
    const Quad p = quarter<lanes>(a), q = quarter<lanes>(b), r = quarter<lanes>(c), s = quarter<lanes>(d);
    const Quad one = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
    const Quad two = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
    return __builtin_shufflevector(one, two, 0, 1, 4, 5) + __builtin_shufflevector(one, two, 2, 3, 6, 7);
}

// 1 / (1 + e^-x) within 2e-7: 2^n times a polynomial of degree 5 in the rest; |x| is cut at 87. NaN stays NaN.
INLINE float sigmoid(float x) {
    float y = -x * 1.44269504089f;
    y = y > 126.0f ? 126.0f : y;
    y = y < -126.0f ? -126.0f : y;
    // The nearest integer.
    const float whole = (y + 12582912.0f) - 12582912.0f;
    const float rest = y - whole;
    float p = 1.327647129e-3f;
    p = p * rest + 9.675540961e-3f;
    p = p * rest + 5.550713092e-2f;
    p = p * rest + 2.402212024e-1f;
    p = p * rest + 6.931469440e-1f;
    p = p * rest + 1.000000119f;
    const auto bits = static_cast<std::int32_t>((y == y ? whole : 0.0f) + 127.0f) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return 1.0f / (1.0f + p * scale);
}

// The same of four numbers, operation for operation.
INLINE Quad sigmoid(Quad x) {
    Quad y = -x * 1.44269504089f;
    y = y > 126.0f ? Quad{} + 126.0f : y;
    y = y < -126.0f ? Quad{} - 126.0f : y;
    const Quad whole = (y + 12582912.0f) - 12582912.0f;
    const Quad rest = y - whole;
    Quad p = Quad{} + 1.327647129e-3f;
    p = p * rest + 9.675540961e-3f;
    p = p * rest + 5.550713092e-2f;
    p = p * rest + 2.402212024e-1f;
    p = p * rest + 6.931469440e-1f;
    p = p * rest + 1.000000119f;
    // The bits of NaN are 0, and p is NaN.
    const Bits bits = __builtin_convertvector(whole + 127.0f, Bits) << 23;
    Quad scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return 1.0f / (1.0f + p * scale);
}

template <int B>
INLINE void fetch_row(const float *table, std::int64_t row, int blocks) {
    const char *begin = reinterpret_cast<const char *>(table + row * (B ? B : blocks) * lanes);
    for (int b = 0; b < (B ? B : blocks); ++b) __builtin_prefetch(begin + b * 64, 1);
}

template <int B>
INLINE Lanes product(const Lanes *a, const Lanes *b, int blocks) {
    Lanes sum = a[0] * b[0];
    for (int k = 1; k < (B ? B : blocks); ++k) sum = sum + a[k] * b[k];
    return sum;
}

template <int B>
INLINE float difference(const Lanes *a, const Lanes *b, const Lanes *c, int blocks) {
    Lanes sum = a[0] * (b[0] - c[0]);
    for (int k = 1; k < (B ? B : blocks); ++k) sum = sum + a[k] * (b[k] - c[k]);
    return sum_of(sum);
}

// own += step (up positive + un negative - decay own), and so on, all at the old values.
template <int B>
INLINE void move(Lanes *u, Lanes *i, Lanes *j, int blocks, float up, float un, float step, float lu, float li, float lj) {
    const float keep_u = 1 - step * lu, keep_i = 1 - step * li, keep_j = 1 - step * lj, a = step * up, b = step * un;
    for (int k = 0; k < (B ? B : blocks); ++k) {
        const Lanes user = u[k], pos = i[k], neg = j[k];
        u[k] = keep_u * user + (a * pos + b * neg);
        i[k] = keep_i * pos + a * user;
        j[k] = keep_j * neg + b * user;
    }
}

INLINE float *bias_of(const Factors &f, std::int32_t column) {
    return f.bias + (static_cast<std::int64_t>(column) << f.bias_shift);
}

struct Triple {
    std::int32_t user, item, negative, item_column, negative_column;
};

template <Rule R, int B>
INLINE bool step(const Factors &f, const Rates &r, const Triple &t) {
    const int blocks = f.blocks;
    Lanes *u = row_of(f.user, t.user, blocks), *i = row_of(f.item, t.item, blocks), *j = row_of(f.item, t.negative, blocks);
    float bi = 0, bj = 0, *at_i = nullptr, *at_j = nullptr;
    if (f.bias != nullptr) {
        at_i = bias_of(f, t.item_column);
        at_j = bias_of(f, t.negative_column);
        bi = *at_i;
        bj = *at_j;
    }
    float up, un;
    bool right;
    if constexpr (R == Rule::bpr) {
        const float margin = difference<B>(u, i, j, blocks) + (bi - bj);
        up = sigmoid(-margin);
        un = -up;
        right = margin > 0;
    } else if constexpr (R == Rule::nbpo) {
        Lanes *pu = row_of(f.flip_user, t.user, blocks), *qi = row_of(f.flip_item, t.item, blocks),
              *qj = row_of(f.flip_item, t.negative, blocks);
        const Quad logits = sums_of(product<B>(u, i, blocks), product<B>(u, j, blocks), product<B>(pu, qi, blocks),
                                    product<B>(pu, qj, blocks)) + Quad{bi, bj, 0, 0};
        const Quad s = sigmoid(logits);
        const float p = s[0], n = s[1], gi = s[2], gj = s[3];
        right = logits[0] > logits[1];
        up = (1 - gi) * (1 - p);
        un = gj * (1 - n) - n;
        move<B>(pu, qi, qj, blocks, -gi * p, (1 - gj) * n, r.step, r.flip, r.flip, r.flip);
    } else {
        const float pos = sum_of(product<B>(u, i, blocks)) + bi, neg = sum_of(product<B>(u, j, blocks)) + bj;
        right = pos > neg;
        if constexpr (R == Rule::bpo) {
            up = sigmoid(-pos);
            un = -sigmoid(neg);
        } else {
            const float p = sigmoid(neg);
            up = (1 - r.flip_rate) * sigmoid(-pos);
            un = r.flip_rate * (1 - p) - p;
        }
    }
    move<B>(u, i, j, blocks, up, un, r.step, r.user, r.positive, r.negative);
    if (f.bias != nullptr) {
        *at_i = bi + r.step * (up - r.bias * bi);
        *at_j = bj + r.step * (un - r.bias * bj);
    }
    return right;
}

template <Rule R, int B>
INLINE void fetch(const Factors &f, const Triple &t) {
    fetch_row<B>(f.user, t.user, f.blocks);
    fetch_row<B>(f.item, t.item, f.blocks);
    fetch_row<B>(f.item, t.negative, f.blocks);
    if (f.bias_shift) {
        __builtin_prefetch(bias_of(f, t.item_column), 1);
        __builtin_prefetch(bias_of(f, t.negative_column), 1);
    }
    if constexpr (R == Rule::nbpo) {
        fetch_row<B>(f.flip_user, t.user, f.blocks);
        fetch_row<B>(f.flip_item, t.item, f.blocks);
        fetch_row<B>(f.flip_item, t.negative, f.blocks);
    }
}

INLINE std::int32_t item_of(const Block &block, std::int32_t column) {
    return block.item == nullptr ? column : block.item[column];
}

INLINE void draw_negative(const Block &block, Word counter, Triple &t) {
    const Word w = word(block.key, counter);
    t.negative_column =
        block.table == nullptr ? static_cast<std::int32_t>(below(w, block.items)) : weighted(w, block.table, block.items);
    t.negative = item_of(block, t.negative_column);
}

template <Rule R, int B>
void run(const Factors &f, const Rates &r, const Known &known, const Block &block, Word first, Word count, Tally &tally) {
    const Factors factors = f;
    const Rates rates = r;
    Word at[window];
    Triple triple[window];
    std::int64_t correct = 0, skipped = 0;
    for (Word start = 0; start < count; start += window) {
        const int size = static_cast<int>(std::min<Word>(window, count - start));
        // Words of a draw: the pair, then the attempts.
        const Word base = (first + start) * 32;
        for (int t = 0; t < size; ++t) at[t] = below(word(block.key, base + static_cast<Word>(t) * 32), block.size);
        for (int t = 0; t < size; ++t) __builtin_prefetch(block.pairs + at[t]);
        for (int t = 0; t < size; ++t) draw_negative(block, base + static_cast<Word>(t) * 32 + 1, triple[t]);
        for (int t = 0; t < size; ++t) {
            const Pair pair = block.pairs[at[t]];
            triple[t].user = pair.user;
            triple[t].item_column = pair.item;
            triple[t].item = item_of(block, pair.item);
            known.fetch(pair.user, triple[t].negative);
        }
        int valid = 0;
        for (int t = 0; t < size; ++t) {
            Triple drawn = triple[t];
            bool has = known.has(drawn.user, drawn.negative);
            for (int a = 1; __builtin_expect(has, 0) && a < block.attempts; ++a) {
                draw_negative(block, base + static_cast<Word>(t) * 32 + 1 + static_cast<Word>(a), drawn);
                has = known.has(drawn.user, drawn.negative);
            }
            triple[valid] = drawn;
            valid += !has;
        }
        skipped += size - valid;
        for (int t = 0; t < std::min(ahead, valid); ++t) fetch<R, B>(factors, triple[t]);
        for (int t = 0; t < valid; ++t) {
            if (t + ahead < valid) fetch<R, B>(factors, triple[t + ahead]);
            correct += step<R, B>(factors, rates, triple[t]);
        }
    }
    tally.correct += correct;
    tally.skipped += skipped;
}

template <Rule R>
void choose(const Factors &f, const Rates &r, const Known &known, const Block &block, Word first, Word count, Tally &tally) {
    switch (f.blocks) {
        case 1: return run<R, 1>(f, r, known, block, first, count, tally);
        case 2: return run<R, 2>(f, r, known, block, first, count, tally);
        case 4: return run<R, 4>(f, r, known, block, first, count, tally);
        case 8: return run<R, 8>(f, r, known, block, first, count, tally);
        default: return run<R, 0>(f, r, known, block, first, count, tally);
    }
}

}  // namespace

void JOIN(steps_, GRAPHNOISE_ISA)(Rule rule, const Factors &f, const Rates &r, const Known &known, const Block &block,
                                  Word first, Word count, Tally &tally) {
    switch (rule) {
        case Rule::bpr: return choose<Rule::bpr>(f, r, known, block, first, count, tally);
        case Rule::bpo: return choose<Rule::bpo>(f, r, known, block, first, count, tally);
        case Rule::nbpo: return choose<Rule::nbpo>(f, r, known, block, first, count, tally);
        case Rule::nbpo_constant: return choose<Rule::nbpo_constant>(f, r, known, block, first, count, tally);
    }
}

void JOIN(sigmoids_, GRAPHNOISE_ISA)(const float *x, std::int64_t count, float *out) {
    for (std::int64_t k = 0; k < count; ++k) out[k] = sigmoid(x[k]);
}

}  // namespace recsys
