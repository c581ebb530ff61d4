// Row kernels of propagation, compiled once for each instruction set (GRAPHNOISE_ISA). The sums of a row stay in registers: a width
// is a number of full blocks of N lanes, then at largest one block of M lanes that ends at the last column and may overlap.

#include "propagate/rows.h"

#include <algorithm>
#include <type_traits>

#include "simd/row_vectors.h"

namespace graphnoise {
namespace {

// The largest change, as the bits of its absolute value: these are ordered as the numbers are, and NaN lies above all.
template <class A, class Bits, int N>
struct ChangeTracker {
    Vec<Bits, N> largest{};

    INLINE void change(const Vec<A, N> &by) {
        const Vec<Bits, N> size = bits_of<Vec<Bits, N>>(by) & static_cast<Bits>(~std::make_unsigned_t<Bits>{0} >> 1);
        largest = size > largest ? size : largest;
    }
    // v - v is NaN unless v is finite.
    INLINE void finite(const Vec<A, N> &v) { change(v - v); }
    INLINE void report(Outcome &out) const {
        for (int l = 0; l < N; ++l) {
            const A change = bits_of<A>(static_cast<Bits>(lane(largest, l)));
            out.bad |= change - change != 0;
            if (change > out.residual) out.residual = change;
        }
    }
};

// The constant parts of a step, read once per task.
template <class T, class Col>
struct Reader {
    using A = typename Traits<T>::Sum;
    const Step &s;
    const Task &t;
    const Index *rowptr = s.rowptr;
    const Col *col = static_cast<const Col *>(s.col);
    const A *value = static_cast<const A *>(s.value);
    const T *from = static_cast<const T *>(s.from) + t.column;
    const T *source = s.source ? static_cast<const T *>(s.source) + t.column : nullptr;
    T *to = static_cast<T *>(s.to) + t.column;
    const A *left = static_cast<const A *>(s.left), *held = static_cast<const A *>(s.held);
    const A *scale = static_cast<const A *>(s.scale);
    const A alpha = static_cast<A>(s.alpha), beta = static_cast<A>(s.beta);
    const A low = static_cast<A>(s.low), high = static_cast<A>(s.high);
};

// Full blocks of N lanes, then one block of M lanes that ends at the last column. All indices are compile-time constants;
// otherwise the sums would be kept in memory.
template <class T, int N, int Full, int M>
struct Sums {
    using A = typename Traits<T>::Sum;
    static constexpr int m = M ? M : 1;
    // Cache lines of a row.
    static constexpr int lines = ((N * Full + M) * static_cast<int>(sizeof(T)) + 63) / 64;
    Vec<A, N> full[Full]{};
    Vec<A, m> last{};

    template <class From>
    INLINE void add(const From *row, Index width) {
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) full[k] += load<N>(row + k * N);
        if constexpr (M > 0) last += load<m>(row + width - M);
    }
    INLINE void add(const T *row, Index width, A w) {
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) full[k] += w * load<N>(row + k * N);
        if constexpr (M > 0) last += w * load<m>(row + width - M);
    }
    INLINE void keep(A *at, Index width) const {
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) store<N>(at + k * N, full[k]);
        if constexpr (M > 0) store<m>(at + width - M, last);
    }
    INLINE A total() const {
        A sum = lane(last, 0);
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) sum += lane(full[k], 0) + lane(full[k], N - 1);
        return sum;
    }
};

template <class T, class Col, bool Weighted, class S>
INLINE void gather(const Reader<T, Col> &r, S &sums, Index begin, Index end) {
    const Index stride = r.s.width, width = r.t.width, ahead = std::min(r.s.prefetch, r.s.readable - end);
    for (Index e = begin; e < end; ++e) {
        if (ahead) {
            const char *next = reinterpret_cast<const char *>(r.from + static_cast<Index>(r.col[e + ahead]) * stride);
#pragma GCC unroll 8
            for (int line = 0; line < S::lines; ++line) __builtin_prefetch(next + 64 * line, 0, 3);
        }
        const Index j = static_cast<Index>(r.col[e]);
        if constexpr (Weighted) {
            sums.add(r.from + j * stride, width, r.value[r.s.per_source ? j : e]);
        } else {
            sums.add(r.from + j * stride, width);
        }
    }
}

// Complete N columns of a row after the neighbours are summed.
template <int N, class T, class R, class Tracker>
INLINE void finish(const R &r, Index i, Index column, const Vec<typename Traits<T>::Sum, N> &sum, Tracker &tracker) {
    using A = typename Traits<T>::Sum;
    const Index at = i * r.s.width + column;
    Vec<A, N> y = (r.left ? r.alpha * r.left[i] : r.alpha) * sum;
    if (r.source) {
        if (!r.s.mask || r.s.mask[i]) {
            const auto x = load<N>(r.source + at);
            y += r.beta * x;
            if (r.s.check) tracker.finite(x);
        }
    } else if (r.beta != 0) {
        y += (r.held ? r.beta / r.held[i] : r.beta) * load<N>(r.from + at);
    }
    // NaN passes the clamp.
    if (r.s.clamp) {
        const Vec<A, N> low = Vec<A, N>{} + r.low, high = Vec<A, N>{} + r.high;
        y = y < low ? low : y;
        y = y > high ? high : y;
    }
    if (r.s.check) tracker.finite(load<N>(r.from + at));
    if (r.s.residual) {
        const A held = r.held ? r.held[i] : A(1);
        tracker.change((stored<N, T>(held * y) - load<N>(r.from + at)) / held);
    }
    if (r.scale) y = r.scale[i] * y;
    store<N>(r.to + at, y);
}

// The same without clamp, check and residual, as in most steps: one or two multiplications per block.
template <int N, int Full, int M, class T, class R, class S>
INLINE void finish_plain(const R &r, Index i, const S &sums) {
    using A = typename Traits<T>::Sum;
    const Index at = i * r.s.width, rest = r.t.width - M;
    const A scale = r.scale ? r.scale[i] : A(1), a = scale * (r.left ? r.alpha * r.left[i] : r.alpha);
    const bool from_source = r.source && (!r.s.mask || r.s.mask[i]), from_self = !r.source && r.beta != 0;
    T *to = r.to + at;
    if (from_source || from_self) {
        const A b = scale * (from_self && r.held ? r.beta / r.held[i] : r.beta);
        const T *x = (from_source ? r.source : r.from) + at;
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) store<N>(to + k * N, a * sums.full[k] + b * load<N>(x + k * N));
        if constexpr (M > 0) store<M>(to + rest, a * sums.last + b * load<M>(x + rest));
    } else {
#pragma GCC unroll 8
        for (int k = 0; k < Full; ++k) store<N>(to + k * N, a * sums.full[k]);
        if constexpr (M > 0) store<M>(to + rest, a * sums.last);
    }
}

template <class T, class Col, bool Weighted, int N, int Full, int M>
void run(const Step &s, const Task &t, Outcome &out) {
    using A = typename Traits<T>::Sum;
    using B = typename Traits<T>::Bits;
    const Reader<T, Col> r{s, t};
    ChangeTracker<A, B, N> full;
    ChangeTracker<A, B, M ? M : 1> last;
    A *partial = static_cast<A *>(s.partial) + t.column;
    A row[Full * N + M];
    const bool plain = !(s.check || s.residual || s.clamp);
    const bool whole = t.kind == Kind::rows || t.kind == Kind::floor;
    const Index first = whole ? t.begin : t.row, end = whole ? t.end : t.row + 1;
    for (Index k = first; k < end; ++k) {
        const Index i = s.order ? s.order[k] : k;
        Sums<T, N, Full, M> sums;
        if (t.kind == Kind::join) {
            for (Index p = t.begin; p < t.end; ++p) sums.add(partial + p * s.width, t.width);
        } else {
            gather<T, Col, Weighted>(r, sums, whole ? r.rowptr[i] : t.begin, whole ? r.rowptr[i + 1] : t.end);
        }
        if (t.kind == Kind::piece) {
            sums.keep(partial + t.piece * s.width, t.width);
        } else if (t.kind == Kind::floor) {
            static_cast<A *>(s.to)[t.piece + i] = sums.total();
        } else if (plain) {
            finish_plain<N, Full, M, T>(r, i, sums);
        } else if constexpr (Full == 1) {
            finish<N, T>(r, i, 0, sums.full[0], full);
            if constexpr (M > 0) finish<M, T>(r, i, t.width - M, sums.last, last);
        } else {
            sums.keep(row, Full * N + M);
#pragma GCC unroll 1
            for (int b = 0; b < Full; ++b) finish<N, T>(r, i, b * N, load<N>(row + b * N), full);
            if constexpr (M > 0) finish<M, T>(r, i, t.width - M, load<M>(row + Full * N), last);
        }
    }
    full.report(out);
    last.report(out);
}

template <class T>
constexpr int lanes = register_bytes / sizeof(typename Traits<T>::Sum);
// Sums of this many blocks fit into registers.
constexpr int max_blocks = 8;

template <class T, class Col, bool Weighted, int Full>
Run blocks(Index width) {
    constexpr int N = lanes<T>;
    const Index full = width / N, rest = width % N;
    if constexpr (Full < max_blocks) {
        if (full > Full) return blocks<T, Col, Weighted, Full + 1>(width);
        if (rest > N / 2) return run<T, Col, Weighted, N, Full, N>;
        if (rest > 0) return run<T, Col, Weighted, N, Full, N / 2>;
    }
    return full == Full && rest == 0 ? run<T, Col, Weighted, N, Full, 0> : nullptr;
}

template <class T, class Col, bool Weighted>
Run shape(Index width) {
    constexpr int N = lanes<T>;
    if (width == 1) return run<T, Col, Weighted, 1, 1, 0>;
    if constexpr (N > 2) {
        if (width == 2) return run<T, Col, Weighted, 2, 1, 0>;
        if (width == 3) return run<T, Col, Weighted, 2, 1, 2>;
    }
    if constexpr (N > 4) {
        if (width == 4) return run<T, Col, Weighted, 4, 1, 0>;
        if (width < 8) return run<T, Col, Weighted, 4, 1, 4>;
    }
    if constexpr (N > 8) {
        if (width == 8) return run<T, Col, Weighted, 8, 1, 0>;
        if (width < 16) return run<T, Col, Weighted, 8, 1, 8>;
    }
    // Positions of 64 bits are for graphs of 2^31 nodes: narrow panels only.
    if constexpr (sizeof(Col) == 8) return width == N ? run<T, Col, Weighted, N, 1, 0> : nullptr;
    return blocks<T, Col, Weighted, 1>(width);
}

template <class T, class Col>
void sddmm(const Task &task, const Index *rowptr, const void *cols, const void *left, const void *right, Index width,
            double alpha, Index prefetch, void *into) {
    using A = typename Traits<T>::Sum;
    constexpr int N = lanes<T>;
    const auto *col = static_cast<const Col *>(cols);
    const auto *g = static_cast<const T *>(left), *y = static_cast<const T *>(right);
    auto *out = static_cast<A *>(into);
    const Index bytes = width * static_cast<Index>(sizeof(T));
    const bool whole = task.kind == Kind::rows;
    const Index first = whole ? task.begin : task.row, end = whole ? task.end : task.row + 1;
    for (Index i = first; i < end; ++i) {
        const T *g_row = g + i * width;
        const Index to = whole ? rowptr[i + 1] : task.end;
        for (Index e = whole ? rowptr[i] : task.begin; e < to; ++e) {
            const T *y_row = y + static_cast<Index>(col[e]) * width;
            if (prefetch) {
                const auto *next = reinterpret_cast<const char *>(y + static_cast<Index>(col[e + prefetch]) * width);
                for (Index b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 3);
            }
            Vec<A, N> sums{};
            Index c = 0;
            for (; c + N <= width; c += N) sums += load<N>(g_row + c) * load<N>(y_row + c);
            A total = 0;
            for (int l = 0; l < N; ++l) total += lane(sums, l);
            for (; c < width; ++c) total += load<1>(g_row + c) * load<1>(y_row + c);
            out[e] = static_cast<A>(alpha) * total;
        }
    }
}

template <class T>
Run rows_of(bool wide_index, bool weighted, Index width) {
    if (wide_index) return weighted ? shape<T, std::int64_t, true>(width) : shape<T, std::int64_t, false>(width);
    return weighted ? shape<T, std::int32_t, true>(width) : shape<T, std::int32_t, false>(width);
}

Run rows(Type type, bool wide_index, bool weighted, Index width) {
    if (type == Type::float32) return rows_of<float>(wide_index, weighted, width);
    if (type == Type::float64) return rows_of<double>(wide_index, weighted, width);
    return rows_of<BFloat16>(wide_index, weighted, width);
}

template <class T>
Sddmm sddmm_of(bool wide_index) {
    return wide_index ? sddmm<T, std::int64_t> : sddmm<T, std::int32_t>;
}

Sddmm sddmms(Type type, bool wide_index) {
    if (type == Type::float32) return sddmm_of<float>(wide_index);
    if (type == Type::float64) return sddmm_of<double>(wide_index);
    return sddmm_of<BFloat16>(wide_index);
}

#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
Index widest(Type type, bool wide_index) {
    const Index block = type == Type::float64 ? lanes<double> : lanes<float>;
    return wide_index ? block : block * max_blocks;
}

const Kernels table{rows, sddmms, widest, TEXT(GRAPHNOISE_ISA)};

}  // namespace

const Kernels &JOIN(kernels_, GRAPHNOISE_ISA)() { return table; }

}  // namespace graphnoise
