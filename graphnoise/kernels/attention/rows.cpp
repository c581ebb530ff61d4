// The row kernels of graph attention, compiled once for each instruction set (GRAPHNOISE_ISA).

#include "attention/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/vectors.h"

namespace graphnoise::attention {
namespace {

// Distance of prefetching, in arcs, for arrays with one number per head.
constexpr Index near = 32;

// The kernels for a number of heads and a width (0: known at run time).
template <int Heads, int Width>
struct Rows {
    // Arcs whose rows are added at once.
    static constexpr int block = 4;

    // A copy, which no store can change.
    const Arguments p;
    const Index H, F, D;
    float *const scratch;

    INLINE Rows(const Arguments &arguments, float *buffer)
        : p(arguments), H(Heads ? Heads : p.heads), F(Width ? Width : p.width), D(H * F), scratch(buffer) {}

    INLINE Index from(Index e) const { return static_cast<Index>(p.col[e]); }

    // Compute the largest score and the sum of exp(score - largest) over the arcs [begin, end) of row i, per head; the
    // exponentials are stored in weight.
    INLINE void exponentials(Index i, Index begin, Index end, float *tops, float *sums) const {
        const float half_up = 0.5f * (1 + p.slope), half_down = 0.5f * (1 - p.slope);
        columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
            constexpr int N = decltype(n)::value;
            const Vec<N> t = load<N>(p.target + i * H + k);
            Vec<N> top = Vec<N>{} - INFINITY, sum{};
            for (Index e = begin; e < end; ++e) {
                if (p.prefetch) fetch(p.source + from(e + near) * H + k, N);
                const Vec<N> logit = load<N>(p.source + from(e) * H + k) + t;
                const Vec<N> size = logit > -logit ? logit : -logit;
                // Leaky ReLU without a branch on the sign, which would be mispredicted.
                const Vec<N> score = half_up * logit + half_down * size;
                top = score > top ? score : top;
                store<N>(p.weight + e * H + k, score);
            }
            if constexpr (Heads == 1)
                columns<0>(end - begin, [&](auto m, Index e) __attribute__((always_inline)) {
                    constexpr int M = decltype(m)::value;
                    float *w = p.weight + begin + e;
                    store<M>(w, exp_nonpositive<M>(load<M>(w) - top));
                });
            for (Index e = begin; e < end; ++e) {
                float *w = p.weight + e * H + k;
                if constexpr (Heads != 1) store<N>(w, exp_nonpositive<N>(load<N>(w) - top));
                sum += load<N>(w);
            }
            store<N>(tops + k, top);
            store<N>(sums + k, sum);
        });
    }

    // acc += the rows of R arcs, with their weights.
    template <int R>
    INLINE void add(float *__restrict acc, Index e, float *__restrict buffer) const {
        const float *rows[R], *used = p.weight + e * H;
        for (int r = 0; r < R; ++r) {
            rows[r] = p.h + from(e + r) * D;
            if (p.prefetch) fetch(p.h + from(e + r + p.prefetch) * D, D);
        }
        if (p.factor) {
            columns<R * Heads>(R * H, [&](auto n, Index k) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                store<N>(buffer + k, load<N>(used + k) * load<N>(p.factor + e * H + k));
            });
            used = buffer;
        }
        sum<R>(acc, rows, used);
    }

    // acc += the sum of used_r rows_r.
    template <int R>
    INLINE void sum(float *__restrict acc, const float *const *rows, const float *used) const {
        for (Index k = 0; k < H; ++k) {
            float w[R];
            for (int r = 0; r < R; ++r) w[r] = used[r * H + k];
            columns<Width>(F, [&](auto n, Index c) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                const Index at = k * F + c;
                Vec<N> a = load<N>(acc + at);
                for (int r = 0; r < R; ++r) a += w[r] * load<N>(rows[r] + at);
                store<N>(acc + at, a);
            });
        }
    }

    INLINE void gather(float *acc, Index begin, Index end) const {
        float buffer[Heads ? Heads * block : 1];
        float *used = Heads ? buffer : scratch;
        std::memset(acc, 0, static_cast<std::size_t>(D) * sizeof(float));
        Index e = begin;
        for (; e + block <= end; e += block) add<block>(acc, e, used);
        for (; e < end; ++e) add<1>(acc, e, used);
    }

    INLINE void scale(Index begin, Index end, const float *by) const {
        columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
            constexpr int N = decltype(n)::value;
            const Vec<N> factor = load<N>(by + k);
            for (float *w = p.weight + begin * H + k; w < p.weight + end * H; w += H) store<N>(w, factor * load<N>(w));
        });
    }

    // Multiply the sums of row i by a number per head, and add the bias.
    INLINE void finish(Index i, const float *by) const {
        float *__restrict out = p.out + i * D;
        for (Index k = 0; k < H; ++k) {
            columns<Width>(F, [&](auto n, Index c) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                const Index at = k * F + c;
                Vec<N> a = by[k] * load<N>(out + at);
                if (p.bias) a += load<N>(p.bias + at);
                store<N>(out + at, a);
            });
        }
    }

    INLINE void forward(const Task &task) const {
        if (task.piece >= 0) {
            float *top = p.numbers + task.piece * 2 * H;
            exponentials(task.row, task.begin, task.end, top, top + H);
            gather(p.sums + task.piece * D, task.begin, task.end);
            return;
        }
        float buffer[Heads ? 2 * Heads : 1];
        float *top = Heads ? buffer : scratch + block * H, *sum = top + H;
        for (Index i = task.begin; i < task.end; ++i) {
            const Index begin = p.rowptr[i], end = p.rowptr[i + 1];
            exponentials(i, begin, end, top, sum);
            gather(p.out + i * D, begin, end);
            for (Index k = 0; k < H; ++k) sum[k] = end > begin ? 1 / sum[k] : 0;
            scale(begin, end, sum);
            finish(i, sum);
        }
    }

    // Pieces have their own largest scores: multiply by exp(piece's - row's).
    INLINE void join_forward(const Task &task) const {
        float *top = scratch, *sum = scratch + H, *by = scratch + 2 * H, *out = p.out + task.row * D;
        const Index pieces = task.last - task.first, arcs = task.end - task.begin;
        for (Index k = 0; k < H; ++k) {
            top[k] = -INFINITY;
            sum[k] = 0;
        }
        for (Index q = task.first; q < task.last; ++q)
            for (Index k = 0; k < H; ++k) {
                const float other = p.numbers[q * 2 * H + k];
                top[k] = other > top[k] ? other : top[k];
            }
        for (Index q = task.first; q < task.last; ++q)
            for (Index k = 0; k < H; ++k) {
                float *numbers = p.numbers + q * 2 * H;
                sum[k] += exp_nonpositive<1>(numbers[k] - top[k]) * numbers[H + k];
            }
        std::memset(out, 0, static_cast<std::size_t>(D) * sizeof(float));
        for (Index q = 0; q < pieces; ++q) {
            const float *part = p.sums + (task.first + q) * D;
            for (Index k = 0; k < H; ++k) {
                by[k] = exp_nonpositive<1>(p.numbers[(task.first + q) * 2 * H + k] - top[k]) / sum[k];
                for (Index f = k * F; f < (k + 1) * F; ++f) out[f] += by[k] * part[f];
            }
            scale(task.begin + arcs * q / pieces, task.begin + arcs * (q + 1) / pieces, by);
        }
        for (Index k = 0; k < H; ++k) by[k] = 1;
        finish(task.row, by);
    }

    // For R arcs from a source whose features are h: acc += the weighted gradients of their targets, and their scalar
    // products with h are the gradients of the arcs' weights.
    template <int R>
    INLINE void add_and_dot(const float *__restrict h, float *__restrict acc, Index t, float *__restrict used) const {
        const float *rows[R];
        Index arc[R];
        float *dots = used + R * H;
        for (int r = 0; r < R; ++r) {
            rows[r] = p.grad + static_cast<Index>(p.row[t + r]) * D;
            arc[r] = static_cast<Index>(p.arc[t + r]) * H;
            if (p.prefetch) {
                fetch(p.grad + static_cast<Index>(p.row[t + r + p.prefetch]) * D, D);
                fetch(p.weight + static_cast<Index>(p.arc[t + r + p.prefetch]) * H, H);
            }
            columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                Vec<N> w = load<N>(p.weight + arc[r] + k);
                if (p.factor) w *= load<N>(p.factor + arc[r] + k);
                store<N>(used + r * H + k, w);
            });
        }
        if constexpr (Heads > 1 && Width > 0) {
            sum<R>(acc, rows, used);
            for (int r = 0; r < R; ++r) products(h, rows[r], dots + r * H);
        } else {
            sum_and_products<R>(h, acc, rows, used, dots);
        }
        for (int r = 0; r < R; ++r) {
            columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                Vec<N> u = load<N>(dots + r * H + k);
                if (p.factor) u *= load<N>(p.factor + arc[r] + k);
                store<N>(p.score + arc[r] + k, u);
            });
        }
    }

    // The scalar products of two rows, one per head.
    INLINE void products(const float *a, const float *b, float *into) const {
        constexpr int N = std::min(lanes, Width);
        Vec<N> sums[Heads] = {};
        for (Index k = 0; k < Heads; ++k)
            for (Index c = 0; c < Width; c += N) sums[k] += load<N>(a + k * F + c) * load<N>(b + k * F + c);
        totals<N, Heads>(sums, into);
    }

    // Both in one pass, for wide rows: a head's products with R rows are summed together.
    template <int R>
    INLINE void sum_and_products(const float *__restrict h, float *__restrict acc, const float *const *rows,
                                 const float *used, float *dots) const {
        for (Index k = 0; k < H; ++k) {
            float w[R], rest[R] = {}, dot[R];
            for (int r = 0; r < R; ++r) w[r] = used[r * H + k];
            Vec<lanes> sums[R] = {};
            columns<0>(F, [&](auto n, Index c) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                const Index at = k * F + c;
                const Vec<N> own = load<N>(h + at);
                Vec<N> a = load<N>(acc + at);
                for (int r = 0; r < R; ++r) {
                    const Vec<N> g = load<N>(rows[r] + at);
                    a += w[r] * g;
                    if constexpr (N == lanes) {
                        sums[r] += g * own;
                    } else {
                        Vec<N> product[1] = {g * own};
                        float part;
                        totals<N, 1>(product, &part);
                        rest[r] += part;
                    }
                }
                store<N>(acc + at, a);
            });
            totals<lanes, R>(sums, dot);
            for (int r = 0; r < R; ++r) dots[r * H + k] = dot[r] + rest[r];
        }
    }

    INLINE void features(const Task &task) const {
        float buffer[Heads ? 2 * block * Heads : 1];
        float *used = Heads ? buffer : scratch;
        const bool whole = task.piece < 0;
        const Index last = whole ? task.end : task.row + 1;
        for (Index j = whole ? task.begin : task.row; j < last; ++j) {
            float *acc = whole ? p.to_h + j * D : p.sums + task.piece * D;
            const float *h = p.h + j * D;
            Index t = whole ? p.colptr[j] : task.begin;
            const Index end = whole ? p.colptr[j + 1] : task.end;
            std::memset(acc, 0, static_cast<std::size_t>(D) * sizeof(float));
            for (; t + block <= end; t += block) add_and_dot<block>(h, acc, t, used);
            for (; t < end; ++t) add_and_dot<1>(h, acc, t, used);
        }
    }

    INLINE void join_features(const Task &task) const {
        float *__restrict into = p.to_h + task.row * D;
        std::memcpy(into, p.sums + task.first * D, static_cast<std::size_t>(D) * sizeof(float));
        for (Index q = task.first + 1; q < task.last; ++q)
            for (Index f = 0; f < D; ++f) into[f] += p.sums[q * D + f];
    }

    INLINE void mean(Index begin, Index end, float *into) const {
        columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
            constexpr int N = decltype(n)::value;
            Vec<N> sum{};
            for (Index e = begin; e < end; ++e) sum += load<N>(p.weight + e * H + k) * load<N>(p.score + e * H + k);
            store<N>(into + k, sum);
        });
    }

    INLINE void means(const Task &task) const { mean(task.begin, task.end, p.numbers + task.piece * 2 * H); }

    // With w the weights and u their gradients, the scores before the softmax get w (u - sum of w u).
    INLINE void scores(const Task &task) const {
        float buffer[Heads ? Heads : 1];
        float *centre = Heads ? buffer : scratch;
        const bool whole = task.piece < 0;
        const Index last = whole ? task.end : task.row + 1;
        for (Index i = whole ? task.begin : task.row; i < last; ++i) {
            const Index begin = whole ? p.rowptr[i] : task.begin, end = whole ? p.rowptr[i + 1] : task.end;
            if (whole) {
                mean(begin, end, centre);
            } else {
                for (Index k = 0; k < H; ++k) centre[k] = 0;
                for (Index q = task.first; q < task.last; ++q)
                    for (Index k = 0; k < H; ++k) centre[k] += p.numbers[q * 2 * H + k];
            }
            float *into = whole ? p.to_target + i * H : p.numbers + (task.piece * 2 + 1) * H;
            columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                const Vec<N> up = Vec<N>{} + 1.0f, down = Vec<N>{} + p.slope, zero{};
                const Vec<N> t = load<N>(p.target + i * H + k), mean = load<N>(centre + k);
                Vec<N> sum{};
                for (Index e = begin; e < end; ++e) {
                    if (p.prefetch) fetch(p.source + from(e + near) * H + k, N);
                    const Vec<N> slope = load<N>(p.source + from(e) * H + k) + t > zero ? up : down;
                    const Index at = e * H + k;
                    const Vec<N> u = load<N>(p.weight + at) * (load<N>(p.score + at) - mean) * slope;
                    store<N>(p.score + at, u);
                    sum += u;
                }
                store<N>(into + k, sum);
            });
        }
    }

    INLINE void sources(const Task &task) const {
        const bool whole = task.piece < 0;
        const Index last = whole ? task.end : task.row + 1;
        for (Index j = whole ? task.begin : task.row; j < last; ++j) {
            float *into = whole ? p.to_source + j * H : p.numbers + (task.piece * 2 + 1) * H;
            const Index begin = whole ? p.colptr[j] : task.begin, end = whole ? p.colptr[j + 1] : task.end;
            columns<Heads>(H, [&](auto n, Index k) __attribute__((always_inline)) {
                constexpr int N = decltype(n)::value;
                Vec<N> sum{};
                for (Index t = begin; t < end; ++t) {
                    if (p.prefetch) fetch(p.score + static_cast<Index>(p.arc[t + near]) * H + k, N);
                    sum += load<N>(p.score + static_cast<Index>(p.arc[t]) * H + k);
                }
                store<N>(into + k, sum);
            });
        }
    }

    INLINE void join_numbers(const Task &task, float *all) const {
        float *__restrict into = all + task.row * H;
        for (Index k = 0; k < H; ++k) into[k] = 0;
        for (Index q = task.first; q < task.last; ++q)
            for (Index k = 0; k < H; ++k) into[k] += p.numbers[(q * 2 + 1) * H + k];
    }

    INLINE void join_scores(const Task &task) const { join_numbers(task, p.to_target); }
    INLINE void join_sources(const Task &task) const { join_numbers(task, p.to_source); }
};

template <class R, void (R::*pass)(const Task &) const>
void run(const Arguments &p, const Task &task, float *scratch) {
    (R(p, scratch).*pass)(task);
}

template <int Heads, int Width>
Kernels table() {
    using R = Rows<Heads, Width>;
    return {run<R, &R::forward>, run<R, &R::join_forward>, run<R, &R::features>, run<R, &R::join_features>,
            run<R, &R::means>,   run<R, &R::scores>,       run<R, &R::join_scores>, run<R, &R::sources>,
            run<R, &R::join_sources>};
}

}  // namespace

Kernels JOIN(kernels_, GRAPHNOISE_ISA)(Index heads, Index width) {
    if (heads == 8 && width == 8) return table<8, 8>();
    if (heads == 8 && width == 32) return table<8, 32>();
    return heads == 1 ? table<1, 0>() : table<0, 0>();
}

}  // namespace graphnoise::attention
